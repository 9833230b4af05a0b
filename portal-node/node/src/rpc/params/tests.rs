use jsonrpsee::types::error::INVALID_PARAMS_CODE;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fuzzing;

const NAMES: &[&str] = &["first", "second"];

fn arguments(params: &Value) -> Result<Arguments, ErrorObjectOwned> {
    Arguments::new(&Params::new(Some(&params.to_string())), NAMES)
}

fn message<T>(result: Result<T, ErrorObjectOwned>) -> String {
    let error = result.err().expect("an error");
    assert_eq!(error.code(), INVALID_PARAMS_CODE);
    error.message().to_owned()
}

#[test]
fn positions_and_names_mean_the_same() {
    for params in [json!([1, true]), json!({ "second": true, "first": 1 })] {
        let arguments = arguments(&params).unwrap();
        assert_eq!(arguments.required::<u16>("first").unwrap(), 1);
        assert!(arguments.required::<bool>("second").unwrap());
    }
}

#[test]
fn what_is_left_out_or_null_is_none() {
    for params in [json!([]), json!([null]), json!({}), json!(null)] {
        let arguments = arguments(&params).unwrap();
        assert_eq!(arguments.optional::<u16>("first").unwrap(), None);
        let message = message(arguments.required::<u16>("second"));
        assert!(message.contains("parameter 2 (second)") && message.contains("missing"), "{message}");
    }
    assert!(Arguments::new(&Params::new(None), NAMES).is_ok());
}

#[test]
fn too_many_unknown_and_shapeless_parameters_are_named() {
    assert!(message(arguments(&json!([1, 2, 3]))).contains("3 parameters given, at most 2"));
    assert!(message(arguments(&json!({ "third": 1 }))).contains("unknown parameter third: first, second"));
    assert!(message(arguments(&json!("text"))).contains("a list or an object"));
    assert!(message(Arguments::new(&Params::new(Some("[1,")), NAMES)).contains("not JSON"));
}

#[test]
fn a_wrong_value_is_quoted_with_what_was_expected() {
    let arguments = arguments(&json!(["0x0", "f".repeat(5000)])).unwrap();
    let odd = message(arguments.required::<Bytes>("first"));
    assert!(odd.contains("parameter 1 (first)") && odd.contains("hex string") && odd.contains("\"0x0\""), "{odd}");
    let long = message(arguments.required::<B256>("second"));
    assert!(long.contains("5002 bytes") && long.len() < 300, "{long}");
}

#[test]
fn hex_of_the_wrong_length_says_so() {
    let arguments = arguments(&json!(["0x0011", 7])).unwrap();
    assert_eq!(arguments.required::<Bytes>("first").unwrap().as_ref(), [0x00, 0x11]);
    assert!(message(arguments.required::<B256>("first")).contains("2 bytes"));
    assert!(message(arguments.required::<Bytes>("second")).contains("got 7"));
}

fn parse<T: Parameter>(value: Value) -> Option<T> {
    T::parse(&value).ok()
}

#[test]
fn distances_are_few_different_and_in_range() {
    assert_eq!(parse::<Distances>(json!([256, 0, 255])).unwrap().0, [256, 0, 255]);
    for wrong in [json!([]), json!([257]), json!([-1]), json!([1, 1]), json!([1.5]), json!(["1"]), json!(1)] {
        assert!(parse::<Distances>(wrong.clone()).is_none(), "{wrong}");
    }
    assert!(parse::<Distances>((0..258).collect()).is_none());
}

#[test]
fn content_items_are_1_to_64_pairs() {
    let pair = json!(["0x01", "0x"]);
    assert_eq!(parse::<ContentItems>(json!([pair])).unwrap().0, [(vec![1].into(), Bytes::new())]);
    assert!(parse::<ContentItems>(vec![pair.clone(); 64].into()).is_some());
    for wrong in [json!([]), vec![pair; 65].into(), json!([["0x01"]]), json!([["0x01", "0x02", "0x03"]]), json!({})] {
        assert!(parse::<ContentItems>(wrong).is_none());
    }
}

#[test]
fn socket_addresses_come_with_or_without_the_schemas_slash() {
    let expected = "127.0.0.1:9009".parse().unwrap();
    for text in ["127.0.0.1:9009", "/127.0.0.1:9009"] {
        assert_eq!(parse::<std::net::SocketAddr>(json!(text)), Some(expected));
    }
    assert_eq!(parse::<std::net::SocketAddr>(json!("localhost")), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,80}".prop_map(Value::from),
        "(0x)?[0-9a-f]{0,70}".prop_map(Value::from),
        "enr:[a-zA-Z0-9_-]{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("first|second|[a-z]{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_taken_or_refused_with_the_right_code(params in any_json()) {
        fuzzing::json_rpc_parameters(&params.to_string());
    }

    #[test]
    fn arbitrary_text_never_panics(text: String) {
        fuzzing::json_rpc_parameters(&text);
    }

    #[test]
    fn bytes_round_trip(bytes: Vec<u8>) {
        let text = crate::rpc::results::hex_string(&bytes);
        prop_assert_eq!(parse::<Bytes>(json!(text)), Some(bytes.into()));
    }
}
