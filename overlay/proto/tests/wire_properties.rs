//! What holds for every message and for arbitrary bytes: round trips, limits, no panic.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use cairn_proto::wire::*;
use content_types::Distance;
use proptest::{collection::vec, prelude::*};

fn byte_string(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn byte_strings(max_items: usize, max_len: usize) -> impl Strategy<Value = Vec<Bytes>> {
    vec(byte_string(max_len), 0..=max_items)
}

fn ping() -> impl Strategy<Value = Ping> {
    (any::<u64>(), any::<u16>(), byte_string(MAX_PING_PAYLOAD_BYTES))
        .prop_map(|(enr_seq, payload_type, payload)| Ping { enr_seq, payload_type, payload })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        ping().prop_map(Request::Ping),
        proptest::sample::subsequence((0..=MAX_LOG_DISTANCE).collect::<Vec<_>>(), 0..=MAX_DISTANCES)
            .prop_shuffle()
            .prop_map(|distances| Request::FindNodes(FindNodes { distances })),
        byte_string(MAX_CONTENT_KEY_BYTES).prop_map(|content_key| Request::FindContent(FindContent { content_key })),
        byte_strings(MAX_OFFERED_KEYS, 64).prop_map(|content_keys| Request::Offer(Offer { content_keys })),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        ping().prop_map(Response::Pong),
        (any::<u8>(), byte_strings(MAX_ENRS, 30)).prop_map(|(total, enrs)| Response::Nodes(Nodes { total, enrs })),
        any::<u16>().prop_map(|id| Response::Content(Content::ConnectionId(id))),
        byte_string(MAX_INLINE_CONTENT_BYTES).prop_map(|content| Response::Content(Content::Inline(content))),
        byte_strings(MAX_ENRS, 30).prop_map(|enrs| Response::Content(Content::Enrs(enrs))),
        (any::<u16>(), vec(any::<u8>().prop_map(AcceptCode::from), 0..=MAX_OFFERED_KEYS))
            .prop_map(|(connection_id, content_keys)| Response::Accept(Accept { connection_id, content_keys })),
    ]
}

fn payload() -> impl Strategy<Value = PingPayload> {
    let radius = || any::<[u8; 32]>().prop_map(Distance::from_be_bytes);
    prop_oneof![
        (byte_string(MAX_CLIENT_INFO_BYTES), radius(), vec(any::<u16>(), 0..=MAX_CAPABILITIES)).prop_map(
            |(client_info, data_radius, capabilities)| PingPayload::ClientInfo(ClientInfo {
                client_info,
                data_radius,
                capabilities
            })
        ),
        radius().prop_map(|data_radius| PingPayload::BasicRadius(BasicRadius { data_radius })),
        (radius(), any::<u16>()).prop_map(|(data_radius, ephemeral_header_count)| {
            PingPayload::HistoryRadius(HistoryRadius { data_radius, ephemeral_header_count })
        }),
        (any::<u16>().prop_map(ErrorCode::from), byte_string(MAX_ERROR_BYTES))
            .prop_map(|(error_code, message)| PingPayload::Error(ErrorPayload { error_code, message })),
    ]
}

/// Feeds `bytes` in chunks of the given sizes, again and again, and returns the items.
fn read_stream(stream: &mut ContentStream, bytes: &[u8], sizes: &[usize]) -> Result<Vec<Bytes>, StreamError> {
    let mut items = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (mut chunk, after) = rest.split_at(rest.len().min(*size));
        while let Some(item) = stream.next_item(&mut chunk)? {
            items.push(item);
        }
        assert!(chunk.is_empty());
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    Ok(items)
}

fn encode_stream(items: &[Bytes]) -> Vec<u8> {
    items.iter().flat_map(|item| [Varint::new(item.len() as u32).as_bytes(), item].concat()).collect()
}

proptest! {
    #[test]
    fn requests_round_trip(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode().unwrap()).unwrap(), request);
    }

    #[test]
    fn responses_round_trip(response in response()) {
        prop_assert_eq!(Response::decode(&response.encode().unwrap()).unwrap(), response);
    }

    #[test]
    fn payloads_round_trip(payload in payload()) {
        let ping = Ping::new(7, &payload).unwrap();
        prop_assert!(ping.payload.len() <= MAX_PING_PAYLOAD_BYTES);
        prop_assert_eq!(ping.decode_payload().unwrap(), payload);
    }

    /// What decodes encodes to the same bytes: there is one encoding for each message.
    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(selector in 0u8..10, body in vec(any::<u8>(), 0..200)) {
        let bytes = [&[selector][..], &body].concat();
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(request.encode().unwrap(), bytes.clone());
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(response.encode().unwrap(), bytes);
        }
    }

    /// The same with bytes that are nearly a message, which gets past the first checks.
    #[test]
    fn damaged_messages_are_refused_or_canonical(
        request in request(),
        response in response(),
        at: proptest::sample::Index,
        byte: u8,
        cut: proptest::sample::Index,
    ) {
        for message in [request.encode().unwrap(), response.encode().unwrap()] {
            let mut bytes = message.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(1 + cut.index(bytes.len()));
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(request.encode().unwrap(), bytes.clone());
            }
            if let Ok(response) = Response::decode(&bytes) {
                prop_assert_eq!(response.encode().unwrap(), bytes);
            }
        }
    }

    #[test]
    fn arbitrary_payloads_are_refused_or_canonical(
        payload_type in prop_oneof![0u16..4, Just(65535)],
        bytes in vec(any::<u8>(), 0..80),
    ) {
        if let Ok(payload) = PingPayload::decode(payload_type, &bytes) {
            prop_assert_eq!(payload.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn streams_round_trip_in_any_chunks(
        items in vec(byte_string(400), 0..=8),
        sizes in vec(1usize..50, 1..6),
    ) {
        let bytes = encode_stream(&items);
        let mut stream = ContentStream::new(vec![400; items.len()]);
        prop_assert_eq!(read_stream(&mut stream, &bytes, &sizes).unwrap(), items);
        prop_assert_eq!(stream.finish(), Ok(()));
    }

    #[test]
    fn a_stream_cut_short_is_truncated(items in vec(byte_string(400), 1..=8), cut: proptest::sample::Index) {
        let bytes = encode_stream(&items);
        let mut stream = ContentStream::new(vec![400; items.len()]);
        let got = read_stream(&mut stream, &bytes[..cut.index(bytes.len())], &[7]).unwrap();
        prop_assert_eq!(&got[..], &items[..got.len()]);
        let is_truncated = matches!(stream.finish(), Err(StreamError::Truncated { item, .. }) if item == got.len());
        prop_assert!(is_truncated);
    }

    #[test]
    fn arbitrary_streams_keep_to_their_limits(
        bytes in vec(any::<u8>(), 0..300),
        limits in vec(0usize..200, 0..4),
        sizes in vec(1usize..50, 1..6),
    ) {
        let mut stream = ContentStream::new(limits.clone());
        if let Ok(items) = read_stream(&mut stream, &bytes, &sizes) {
            for (item, limit) in items.iter().zip(&limits) {
                prop_assert!(item.len() <= *limit);
            }
        } else {
            prop_assert!(stream.finish().is_err());
            prop_assert!(!stream.is_complete());
        }
    }
}

#[test]
fn limits_of_requests() {
    let distances = |distances: Vec<u16>| Request::FindNodes(FindNodes { distances }).encode();
    assert_eq!(distances(vec![257]), Err(WireError::DistanceOutOfRange(257)));
    assert_eq!(distances(vec![3, 1, 3]), Err(WireError::DuplicateDistance(3)));
    assert_eq!(distances((0..=256).collect()), Err(WireError::TooMany { field: "distances", limit: 256, got: 257 }));

    let offer = |content_keys| Request::Offer(Offer { content_keys }).encode();
    assert_eq!(
        offer(vec![Bytes::from_static(b"k"); 65]),
        Err(WireError::TooMany { field: "content_keys", limit: 64, got: 65 })
    );
    assert_eq!(
        offer(vec![vec![0; 2049].into()]),
        Err(WireError::TooLong { field: "content_key", limit: 2048, got: 2049 })
    );
    let find = Request::FindContent(FindContent { content_key: vec![0; 2049].into() });
    assert_eq!(find.encode(), Err(WireError::TooLong { field: "content_key", limit: 2048, got: 2049 }));
    let ping = Request::Ping(Ping { enr_seq: 0, payload_type: 9, payload: vec![0; 1101].into() });
    assert_eq!(ping.encode(), Err(WireError::TooLong { field: "payload", limit: 1100, got: 1101 }));
}

#[test]
fn limits_of_responses() {
    let nodes = |enrs| Response::Nodes(Nodes { total: 1, enrs }).encode();
    assert_eq!(nodes(vec![Bytes::new(); 33]), Err(WireError::TooMany { field: "enrs", limit: 32, got: 33 }));
    assert_eq!(nodes(vec![vec![0; 2049].into()]), Err(WireError::TooLong { field: "enr", limit: 2048, got: 2049 }));
    assert!(matches!(nodes(vec![vec![0; 300].into(); 4]), Err(WireError::TooLarge { limit: MAX_RESPONSE_BYTES, .. })));

    let inline = |len| Response::Content(Content::Inline(vec![0; len].into()));
    assert_eq!(inline(MAX_INLINE_CONTENT_BYTES).encode().unwrap().len(), MAX_RESPONSE_BYTES);
    assert!(matches!(inline(MAX_INLINE_CONTENT_BYTES + 1).encode(), Err(WireError::TooLarge { .. })));
    // Larger than what is sent, yet within the specification: another client's packet may hold it.
    let received = [&[5, 1][..], &[7; 1175]].concat();
    assert_eq!(Response::decode(&received), Ok(Response::Content(Content::Inline(vec![7; 1175].into()))));

    let accept = Response::Accept(Accept { connection_id: 0, content_keys: vec![AcceptCode::Declined; 65] });
    assert_eq!(accept.encode(), Err(WireError::TooMany { field: "content_keys", limit: 64, got: 65 }));
}

/// The decoders enforce the limits on their own, not only the encoders.
#[test]
fn limits_of_received_bytes() {
    let offsets = |items: usize| (0..items).flat_map(|_| ((items * 4) as u32).to_le_bytes()).collect::<Vec<_>>();
    let offer = [&[6, 4, 0, 0, 0][..], &offsets(65)].concat();
    assert_eq!(Request::decode(&offer), Err(WireError::TooMany { field: "content_keys", limit: 64, got: 65 }));
    let nodes = [&[3, 1, 5, 0, 0, 0][..], &offsets(33)].concat();
    assert_eq!(Response::decode(&nodes), Err(WireError::TooMany { field: "enrs", limit: 32, got: 33 }));
    let twice = [2, 4, 0, 0, 0, 9, 0, 9, 0];
    assert_eq!(Request::decode(&twice), Err(WireError::DuplicateDistance(9)));
    let ping_type_0 = [&[40, 0, 0, 0][..], &[0; 32], &[40, 0, 0, 0], &[0; 802]].concat();
    assert!(matches!(PingPayload::decode(0, &ping_type_0), Err(PayloadError::Limit { payload_type: 0, .. })));
}

#[test]
fn direction_and_selectors() {
    assert_eq!(Request::decode(&[]), Err(WireError::Empty));
    assert_eq!(Response::decode(&[]), Err(WireError::Empty));
    assert_eq!(Request::decode(&[8]), Err(WireError::UnknownMessage(8)));
    assert_eq!(Request::decode(&[5, 0, 1, 2]), Err(WireError::NotARequest(MessageType::Content)));
    assert_eq!(Response::decode(&[4, 4, 0, 0, 0]), Err(WireError::NotAResponse(MessageType::FindContent)));
    assert_eq!(Response::decode(&[5, 3]), Err(WireError::UnknownContent(3)));
    assert!(matches!(Response::decode(&[5]), Err(WireError::Layout { .. })));
}

#[test]
fn a_payload_error_has_the_code_that_tells_the_sender() {
    assert_eq!(PingPayload::decode(3, &[]).unwrap_err().code(), ErrorCode::ExtensionNotSupported);
    assert_eq!(PingPayload::decode(1, &[0; 31]).unwrap_err().code(), ErrorCode::FailedToDecodePayload);
}

#[test]
fn packing_fills_the_packet_and_never_passes_it() {
    let enrs = |len: usize| std::iter::repeat_with(move || Bytes::from(vec![0; len]));
    for len in [1, 100, 127, 284, 300, 2000] {
        for response in [Response::Nodes(Nodes::pack(enrs(len))), Response::Content(Content::pack(enrs(len)))] {
            let encoded = response.encode().unwrap();
            let count = match &response {
                Response::Nodes(nodes) => nodes.enrs.len(),
                Response::Content(Content::Enrs(enrs)) => enrs.len(),
                other => panic!("{other:?}"),
            };
            assert!(count == MAX_ENRS || encoded.len() + 4 + len > MAX_RESPONSE_BYTES, "{len}: {count}");
        }
    }
}

#[test]
fn the_best_extension_that_both_list() {
    let both = Extensions::from_capabilities(&[0, 1, 2, 65535]);
    let legacy = Extensions::from_capabilities(&[0, 2]);
    let basic = Extensions::from_capabilities(&[0, 1, 77]);
    assert_eq!(both.best_common(legacy), payload_type::HISTORY_RADIUS);
    assert_eq!(both.best_common(basic), payload_type::BASIC_RADIUS);
    assert_eq!(legacy.best_common(basic), payload_type::CLIENT_INFO);
    assert_eq!(both.best_common(Extensions::STANDARD), payload_type::CLIENT_INFO);
    assert_eq!(basic.to_capabilities(), [0, 1, 65535]);
    assert!(!basic.contains(payload_type::HISTORY_RADIUS) && basic.contains(payload_type::ERROR));
}

#[test]
fn stream_limits_and_empty_items() {
    let mut stream = ContentStream::new(vec![3, 3, 3]);
    let mut chunk = &[0, 3, 1, 2, 3, 0][..];
    assert_eq!(stream.next_item(&mut chunk), Ok(Some(Bytes::new())));
    assert_eq!(stream.next_item(&mut chunk), Ok(Some(Bytes::from_static(&[1, 2, 3]))));
    assert_eq!(stream.next_item(&mut chunk), Ok(Some(Bytes::new())));
    assert_eq!(stream.next_item(&mut chunk), Ok(None));
    assert!(stream.is_complete());
    assert_eq!(stream.next_item(&mut &[0][..]), Err(StreamError::TrailingBytes { items: 3 }));
    assert!(!stream.is_complete());

    let mut stream = ContentStream::single(3);
    let too_long = StreamError::TooLong { item: 0, len: 4, limit: 3 };
    assert_eq!(stream.next_item(&mut &[4][..]), Err(too_long.clone()));
    assert_eq!(stream.next_item(&mut &[1, 1][..]), Err(too_long), "a broken stream stays broken");

    let mut stream = ContentStream::single(usize::MAX);
    assert_eq!(stream.next_item(&mut &[0xff; 5][..]), Err(StreamError::Length { item: 0 }));
}
