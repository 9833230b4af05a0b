//! The peer that runs: on the data folder, asked over the socket there, or wherever its JSON-RPC listens.

use std::time::Duration;

use cairn_node::{
    HttpError, NotFoundCause,
    rpc::{AskError, Call, DEFAULT_RPC_PORT, PeerClient, RpcRefusal, calls::GetStatus, error},
    without_secrets,
};
use reqwest::Url;
use serde::Deserialize;

use crate::{
    failure::{ASK_AGAIN, Failure},
    output,
    settings::Settings,
    values::Setting,
};

/// Longest wait for an answer that costs the peer nothing.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same, to find out whether a peer runs: what takes longer on a socket of this machine is none that helps.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// A peer that runs.
#[derive(Clone)]
pub(crate) struct RunningPeer {
    client: PeerClient,
    /// Where it is, for messages.
    at: String,
}

impl RunningPeer {
    /// The peer at a URL; without one, the peer on the data folder, and if none runs there, what listens on the usual port.
    pub(crate) async fn named(settings: &Settings, rpc: Option<Url>) -> Result<Self, Failure> {
        if let Some(url) = rpc {
            return Self::at(url);
        }
        match Self::on_folder(settings).await? {
            Some(peer) => Ok(peer),
            None => Self::at(url(&format!("http://127.0.0.1:{DEFAULT_RPC_PORT}"))?),
        }
    }

    /// The peer at a URL.
    pub(crate) fn at(url: Url) -> Result<Self, Failure> {
        let at = without_secrets(url.as_str());
        let client = PeerClient::at(url).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(Self { client, at })
    }

    /// The peer that runs on the data folder and speaks of the same chain; `None` if none does.
    pub(crate) async fn on_folder(settings: &Settings) -> Result<Option<Self>, Failure> {
        let data_dir = settings.data_dir()?;
        let client = PeerClient::on_folder(&data_dir).map_err(|error| Failure::Internal(error.to_string()))?;
        let Some(client) = client else { return Ok(None) };
        let peer = Self { client, at: data_dir.display().to_string() };
        match peer.client.ask(&GetStatus {}, HELLO_TIMEOUT).await {
            Ok(status) if status.chain == settings.chain()?.name() => Ok(Some(peer)),
            Ok(_) => Ok(None),
            Err(error) => {
                // Nobody listens: a peer that was killed leaves its socket behind.
                tracing::debug!(at = peer.at, %error, "no peer runs on the data folder");
                Ok(None)
            }
        }
    }

    /// What calls it, for work that makes many calls.
    pub(crate) fn client(&self) -> PeerClient {
        self.client.clone()
    }

    /// Makes a call that costs the peer nothing.
    pub(crate) async fn ask<C: Call>(&self, call: C) -> Result<C::Answer, Failure> {
        self.ask_within(ANSWER_TIMEOUT, call).await
    }

    /// Makes a call, for `limit` at most.
    pub(crate) async fn ask_within<C: Call>(&self, limit: Duration, call: C) -> Result<C::Answer, Failure> {
        let (at, method) = (&self.at, C::NAME);
        self.client.ask(&call, limit).await.map_err(|error| match error {
            AskError::Unreachable(error) => unreachable(at, &error),
            AskError::Refused(refusal) => refused(at, method, &refusal),
            AskError::Unknown(error) => Failure::Network(format!(
                "{at} answers {method} with something unknown: {error}: it may be of another version"
            )),
        })
    }
}

fn url(text: &str) -> Result<Url, Failure> {
    Url::read(text).map_err(Failure::Internal)
}

fn unreachable(at: &str, error: &HttpError) -> Failure {
    Failure::Network(format!("no peer answers at {at}: {error}. Is `cairn run` running, with --rpc there?"))
}

/// Who was asked for what was not found.
#[derive(Default, Deserialize)]
struct Asked {
    asked: Vec<String>,
    cause: Option<NotFoundCause>,
}

/// What an error of the peer is to the person who asks. Who was asked for what was not found goes before it.
fn refused(at: &str, method: &str, refusal: &RpcRefusal) -> Failure {
    match refusal.code {
        error::CONTENT_NOT_FOUND_WITH_TRACE => {
            let Asked { asked, cause } = serde_json::from_value(refusal.data.clone()).unwrap_or_default();
            asked.iter().for_each(output::remark);
            Failure::not_found(refusal.message.clone(), cause, ASK_AGAIN)
        }
        // The same as of a peer that the command starts itself.
        error::NO_SUCH_FORM => Failure::Invalid(refusal.message.clone()),
        error::DISK_FAILED => Failure::Io(refusal.message.clone()),
        error::STOPPING | error::INTERNAL => Failure::Internal(refusal.message.clone()),
        _ => Failure::Network(format!("{at} answers {method} with an error: {}", refusal.message)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use cairn_node::rpc::calls::GetBlock;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_error_of_the_peer_is_the_failure_that_its_own_peer_would_give_the_command() {
        let failure = |code| {
            let refusal = RpcRefusal { code, message: "why".to_owned(), data: Value::Null };
            refused("here", GetBlock::NAME, &refusal)
        };
        assert!(
            matches!(failure(error::CONTENT_NOT_FOUND_WITH_TRACE), Failure::NotFound(why) if why.starts_with("why: ask again"))
        );
        assert!(matches!(failure(error::NO_SUCH_FORM), Failure::Invalid(why) if why == "why"));
        assert!(matches!(failure(error::DISK_FAILED), Failure::Io(why) if why == "why"));
        assert!(matches!(failure(error::STOPPING), Failure::Internal(why) if why == "why"));
        assert!(matches!(failure(error::INTERNAL), Failure::Internal(why) if why == "why"));
        assert!(matches!(failure(error::TOO_MANY_CALLS), Failure::Network(why) if why.contains(GetBlock::NAME)));
    }

    #[tokio::test]
    async fn a_port_that_says_nothing_is_not_waited_for_for_ever() {
        let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let peer = RunningPeer::at(url(&format!("http://{}", silent.local_addr().unwrap())).unwrap()).unwrap();
        let answer = peer.ask_within(Duration::from_millis(50), GetStatus {}).await;
        assert!(matches!(answer, Err(Failure::Network(why)) if why.contains("time-out")));
    }
}
