//! The methods that Cairn's own command calls, and all that are Cairn's alone: what each is called, what it takes and what it
//! answers. Who serves one and who calls it have that from here, so that what is renamed on one side does not compile on the other.

use std::net::SocketAddr;
use std::sync::Arc;

use alloy_primitives::Bytes as AlloyBytes;
use bytes::Bytes;
use content_types::{BlockId, SubNetwork};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::Params;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::error::RpcResult;
use super::params::{Arguments, ContentItems, Misfit, Parameter, text};
use super::results::hex_string;
use crate::not_found::NotFoundCause;
use crate::present::{PieceForm, What};
use crate::seeding::GivenOutcome;
use crate::status::Status;
use crate::swarm::{Coverage, StoreFetchState};

pub use super::params::Rate;

/// One method with its parameters.
pub trait Call: Send + Sync + Sized + 'static {
    /// The method's name.
    const NAME: &'static str;
    /// What it answers.
    type Answer: Serialize + DeserializeOwned + Clone + 'static;

    /// The parameters by name, as they are sent.
    fn params(&self) -> Value;
}

/// A method as it is served.
pub(super) trait Served: Call {
    /// Takes the parameters of a request.
    ///
    /// # Errors
    /// Invalid params (-32602), and which one is wrong.
    fn taken(params: &Params<'_>) -> RpcResult<Self>;
}

/// Lets `module` answer a call.
///
/// # Errors
/// When a method of that name is there.
pub(super) fn serve<C: Served, Context: Send + Sync + 'static>(
    module: &mut RpcModule<Context>,
    answer: impl Fn(C, &Context) -> RpcResult<C::Answer> + Send + Sync + 'static,
) -> Result<(), RegisterMethodError> {
    module.register_method(C::NAME, move |params, context, _| answer(C::taken(&params)?, context))?;
    Ok(())
}

/// The same with an answer that takes its time.
///
/// # Errors
/// When a method of that name is there.
pub(super) fn serve_later<C: Served, Context: Send + Sync + 'static, F>(
    module: &mut RpcModule<Context>,
    answer: impl Fn(C, Arc<Context>) -> F + Clone + Send + Sync + 'static,
) -> Result<(), RegisterMethodError>
where
    F: Future<Output = RpcResult<C::Answer>> + Send + 'static,
{
    module.register_async_method(C::NAME, move |params, context, _| {
        let answered = C::taken(&params).map(|call| answer(call, context));
        async move { answered?.await }
    })?;
    Ok(())
}

/// A value of a parameter, as a caller writes it.
trait Written: Parameter {
    fn written(&self) -> Value;
}

/// A parameter that has to be given, or, as an `Option`, may be left out.
trait Field: Sized {
    fn taken(arguments: &Arguments, name: &'static str) -> RpcResult<Self>;
    fn given(&self) -> Option<Value>;
}

impl<T: Written> Field for T {
    fn taken(arguments: &Arguments, name: &'static str) -> RpcResult<Self> {
        arguments.required(name)
    }

    fn given(&self) -> Option<Value> {
        Some(self.written())
    }
}

impl<T: Written> Field for Option<T> {
    fn taken(arguments: &Arguments, name: &'static str) -> RpcResult<Self> {
        arguments.optional(name)
    }

    fn given(&self) -> Option<Value> {
        self.as_ref().map(Written::written)
    }
}

/// Makes a type of each method, with its parameters as fields: their order is that of parameters by position.
macro_rules! calls {
    ($(
        $(#[$doc:meta])*
        $method:literal $call:ident { $($(#[$field_doc:meta])* $name:literal $field:ident: $type:ty),* } -> $answer:ty;
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $call { $($(#[$field_doc])* pub $field: $type),* }

        impl Call for $call {
            const NAME: &'static str = $method;
            type Answer = $answer;

            fn params(&self) -> Value {
                let given: [(&str, Option<Value>); _] = [$(($name, self.$field.given())),*];
                given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
            }
        }

        impl Served for $call {
            fn taken(params: &Params<'_>) -> RpcResult<Self> {
                let _arguments = Arguments::new(params, &[$($name),*])?;
                Ok(Self { $($field: Field::taken(&_arguments, $name)?),* })
            }
        }
    )*};
}

calls! {
    /// Name and version of the program.
    "web3_clientVersion" ClientVersion {} -> String;

    /// The node's own record.
    "discv5_nodeInfo" OwnRecord {} -> NodeInfo;

    /// What a peer says of itself.
    "cairn_status" GetStatus {} -> Status;

    /// What is moved over QUIC, and the peers.
    "cairn_swarm" GetSwarm {} -> SwarmResult;

    /// The limits of what is moved over QUIC.
    "cairn_limits" GetLimits {} -> LimitsResult;

    /// Other limits, until the peer ends; what is left out stays as it is.
    "cairn_setLimits" SetLimits {
        /// Of what is sent.
        "uploadLimit" upload_limit: Option<Rate>,
        /// Of what is received.
        "downloadLimit" download_limit: Option<Rate>,
        /// Peers that are connected at once.
        "maxPeers" max_peers: Option<u16>
    } -> LimitsResult;

    /// How many peers hold what.
    "cairn_coverage" GetCoverage {} -> Coverage;

    /// A range into the peer's store: begins it, and tells how far it is.
    "cairn_fetch" FetchIntoStore {
        /// The first block.
        "first" first: u64,
        /// The last block.
        "last" last: u64,
        /// How long it waits while nobody serves what is missing, in seconds.
        "patience" patience: Option<u16>
    } -> StoreFetchState;

    /// A block or a part of it, fetched and proved: as JSON, or RLP as a hex string.
    "cairn_block" GetBlock {
        /// Which block.
        "block" block: BlockId,
        /// What of it; the whole block unless told otherwise.
        "what" what: Option<What>,
        /// As what; JSON unless told otherwise.
        "form" form: Option<PieceForm>
    } -> Box<RawValue>;

    /// The header of a block, with its proof where the network or the peer has that.
    "cairn_header" GetHeader {
        /// Which block.
        "block" block: BlockId
    } -> HeaderResult;

    /// Records of the peer and of some that it knows to be there, to start another one from.
    "cairn_peers" GetPeers {} -> Vec<String>;

    /// Asks peers for the trust lists that are missing.
    "cairn_fetchTrust" FetchTrust {} -> Vec<TrustSearch>;
}

/// `cairn_offer`: content that the caller has made, to be checked, kept where it is this node's to keep, and offered to the peers that
/// should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferContent {
    /// Of which sub-network it is.
    pub network: SubNetwork,
    /// Keys and values, as they are offered; 64 at most.
    pub items: Vec<(Bytes, Bytes)>,
}

impl Call for OfferContent {
    const NAME: &'static str = "cairn_offer";
    type Answer = GivenOutcome;

    fn params(&self) -> Value {
        let items = self.items.iter().map(|(key, value)| [hex_string(key), hex_string(value)]);
        json!({ "network": self.network.spec().name, "items": items.collect::<Vec<_>>() })
    }
}

impl Served for OfferContent {
    fn taken(params: &Params<'_>) -> RpcResult<Self> {
        let arguments = Arguments::new(params, &["network", "items"])?;
        let ContentItems(items) = arguments.required("items")?;
        Ok(Self { network: arguments.required("network")?, items })
    }
}

impl Parameter for SubNetwork {
    const EXPECTED: &'static str = "the name of a sub-network";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        Self::from_name(text(value)?).ok_or_else(|| Misfit::because("there is none of that name"))
    }
}

/// Node record and node ID of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Its record.
    pub enr: String,
    /// Its ID.
    pub node_id: String,
}

/// A header that the trust lists prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderResult {
    /// Its RLP.
    pub header: AlloyBytes,
    /// Its proof as the history network has it (`BlockHeaderProof`); `null` where nobody gives that.
    pub proof: Option<AlloyBytes>,
}

/// Limits, in bytes a second; `null` is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsResult {
    /// Of what is sent.
    pub upload_limit: Option<u64>,
    /// Of what is received.
    pub download_limit: Option<u64>,
    /// Peers that are connected at once.
    pub max_peers: usize,
}

/// What was moved over QUIC since the start, in bytes of answers, and the peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwarmResult {
    /// Sent.
    pub uploaded: u64,
    /// Received.
    pub downloaded: u64,
    /// Those that are connected.
    pub peers: Vec<PeerResult>,
}

/// A peer that is connected over QUIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerResult {
    /// Its node ID.
    pub node_id: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The program that it says it is.
    pub client: String,
    /// The round trip to it.
    pub rtt_micros: u64,
    /// Whether it answers this node's requests now.
    pub serves_us: bool,
}

/// How the search for one trust list among peers went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustSearch {
    /// The list's name.
    pub list: String,
    /// Whether it was found and is in use.
    pub found: bool,
    /// Peers asked.
    pub asked: usize,
    /// Why it was not found.
    #[serde(default)]
    pub cause: Option<NotFoundCause>,
    /// What each peer that did not help answered, as a line.
    pub failures: Vec<String>,
}

impl Parameter for BlockId {
    const EXPECTED: &'static str = "a block number, or a block hash as a hex string of 32 bytes";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        match value {
            Value::String(written) => written.parse().map_err(Misfit::because),
            number => u64::parse(number).map(Self::Number),
        }
    }
}

impl Written for BlockId {
    fn written(&self) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Hash(hash) => json!(hash),
        }
    }
}

impl Parameter for What {
    const EXPECTED: &'static str = "one of block, header, body, receipts";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        named(value, "there is no such part")
    }
}

impl Parameter for PieceForm {
    const EXPECTED: &'static str = "one of json, rlp";

    fn parse(value: &Value) -> Result<Self, Misfit> {
        named(value, "there is no such form")
    }
}

/// One of several, by its name.
fn named<T: DeserializeOwned>(value: &Value, otherwise: &str) -> Result<T, Misfit> {
    text(value)?;
    T::deserialize(value).map_err(|_| Misfit::because(otherwise))
}

/// Parameters that are written as their type's own serialisation says.
macro_rules! written_as_it_is {
    ($($type:ty),*) => {$(
        impl Written for $type {
            fn written(&self) -> Value {
                json!(self)
            }
        }
    )*};
}

written_as_it_is!(What, PieceForm, u16, u64);

impl Written for Rate {
    fn written(&self) -> Value {
        self.0.map_or_else(|| json!(Rate::NONE), |rate| json!(rate))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    /// What a server makes of a call as it is sent.
    fn taken<C: Served>(call: &C) -> C {
        let sent = call.params().to_string();
        C::taken(&Params::new(Some(&sent))).unwrap()
    }

    #[test]
    fn a_call_arrives_as_it_was_meant() {
        let hash = BlockId::Hash(B256::repeat_byte(7));
        for block in [BlockId::Number(0), BlockId::Number(u64::MAX), hash] {
            for what in [None, Some(What::Block), Some(What::Header), Some(What::Body), Some(What::Receipts)] {
                for form in [None, Some(PieceForm::Json), Some(PieceForm::Rlp)] {
                    let call = GetBlock { block, what, form };
                    assert_eq!(taken(&call), call);
                }
            }
        }
        for (upload_limit, download_limit) in [(None, Some(Rate(None))), (Some(Rate(Some(0))), None)] {
            let call = SetLimits { upload_limit, download_limit, max_peers: Some(7) };
            assert_eq!(taken(&call), call);
        }
        let call = FetchIntoStore { first: 1, last: 2, patience: None };
        assert_eq!(taken(&call), call);
        let items = vec![(Bytes::from_static(b"key"), Bytes::from_static(b"value")); 3];
        for network in SubNetwork::ALL {
            let call = OfferContent { network, items: items.clone() };
            assert_eq!(taken(&call), call);
        }
        assert_eq!(taken(&GetStatus {}), GetStatus {});
    }

    /// Programs of others write them.
    #[test]
    fn names_are_what_they_were() {
        let whole = |block| GetBlock { block, what: Some(What::Body), form: Some(PieceForm::Rlp) };
        assert_eq!(whole(BlockId::Number(5)).params(), json!({ "block": 5, "what": "body", "form": "rlp" }));
        let limits = SetLimits { upload_limit: Some(Rate(None)), download_limit: Some(Rate(Some(1))), max_peers: None };
        assert_eq!(limits.params(), json!({ "uploadLimit": "none", "downloadLimit": 1 }));
        assert_eq!(GetStatus {}.params(), json!({}));
    }
}
