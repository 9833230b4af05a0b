//! A router that speaks UPnP's Internet Gateway Device protocol.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, GetExternalIpError, PortMappingProtocol, RequestError, SearchOptions};

use super::mapper::{PortMapper, address_towards};
use super::mapping::{Granted, MapRequest, MappingFailure, Removal};

/// The name under which a router lists the mapping.
const DESCRIPTION: &str = "cairn";

/// A lease without end, for routers that know no other. It is renewed and removed like one with an end.
const PERMANENT: u32 = 0;

/// The gateway, searched for once by multicast and again when it did not answer.
#[derive(Default)]
pub(super) struct Igd {
    gateway: Option<Gateway<Tokio>>,
    /// Where it is searched for, if not by the protocol's multicast.
    search_at: Option<SocketAddr>,
}

impl Igd {
    async fn search(&self) -> Result<Gateway<Tokio>, MappingFailure> {
        let mut options = SearchOptions::default();
        if let Some(address) = self.search_at {
            options.broadcast_address = address;
            options.allowed_gateway_ips = vec![address.ip()];
        }
        search_gateway(options).await.map_err(|error| {
            tracing::debug!(%error, "no router found by UPnP");
            MappingFailure::NoGateway
        })
    }
}

impl PortMapper for Igd {
    async fn map(&mut self, request: MapRequest) -> Result<Granted, MappingFailure> {
        let gateway = match self.gateway.take() {
            Some(gateway) => gateway,
            None => self.search().await?,
        };
        let answer = ask(&gateway, request).await;
        if answer != Err(MappingFailure::NoGateway) {
            self.gateway = Some(gateway);
        }
        answer
    }

    async fn unmap(&mut self, removal: Removal) {
        if let Some(gateway) = &self.gateway
            && let Err(error) = gateway.remove_port(PortMappingProtocol::UDP, removal.external.port()).await
        {
            tracing::debug!(%error, "port mapping not removed");
        }
    }
}

async fn ask(gateway: &Gateway<Tokio>, request: MapRequest) -> Result<Granted, MappingFailure> {
    let MapRequest { local, outer_port, lease, .. } = request;
    let inside = address_towards(gateway.addr).await.map_err(|_| MappingFailure::NoGateway)?;
    let inside = SocketAddr::new(inside, local.port());
    let address = gateway.get_external_ip().await.map_err(|error| match error {
        GetExternalIpError::RequestError(error) => of_request(error),
        refusal => MappingFailure::refused(refusal),
    })?;
    let IpAddr::V4(address) = address else {
        return Err(MappingFailure::refused(format_args!("the router's outer address {address} is not IPv4")));
    };
    let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
    let add = |seconds| gateway.add_port(PortMappingProtocol::UDP, outer_port, inside, seconds, DESCRIPTION);
    let added = match add(seconds).await {
        Err(AddPortError::OnlyPermanentLeasesSupported) => add(PERMANENT).await,
        added => added,
    };
    added.map_err(|error| match error {
        AddPortError::PortInUse => MappingFailure::Taken,
        AddPortError::RequestError(error) => of_request(error),
        refusal => MappingFailure::refused(refusal),
    })?;
    Ok(Granted { external: SocketAddrV4::new(address, outer_port), lease })
}

/// What the router says is a refusal; anything else means that there is none, or none any more.
fn of_request(error: RequestError) -> MappingFailure {
    match error {
        RequestError::ErrorCode(code, text) => MappingFailure::refused(format_args!("error {code}, {text}")),
        RequestError::UnsupportedAction(_) | RequestError::InvalidResponse(_) => MappingFailure::refused(error),
        error => {
            tracing::debug!(%error, "the router does not answer by UPnP");
            MappingFailure::NoGateway
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, UdpSocket};
    use tokio::task::AbortHandle;

    use super::super::mapping::MappingProtocol;
    use super::*;

    const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";
    const ARGUMENTS: [&str; 8] = [
        "NewRemoteHost",
        "NewExternalPort",
        "NewProtocol",
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    ];

    /// A router on loopback: mapped ports with their inner ones and leases.
    #[derive(Default)]
    struct RouterState {
        mapped: BTreeMap<u16, (u16, u32)>,
        only_permanent: bool,
    }

    struct FakeRouter {
        state: Arc<Mutex<RouterState>>,
        search_at: SocketAddr,
        tasks: [AbortHandle; 2],
    }

    impl Drop for FakeRouter {
        fn drop(&mut self) {
            self.tasks.iter().for_each(AbortHandle::abort);
        }
    }

    impl FakeRouter {
        async fn start() -> Self {
            let state = Arc::<Mutex<RouterState>>::default();
            let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let search = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (search_at, location) = (search.local_addr().unwrap(), web.local_addr().unwrap());
            let searches = tokio::spawn(async move {
                let mut packet = [0; 1500];
                loop {
                    let (_, from) = search.recv_from(&mut packet).await.unwrap();
                    let found =
                        format!("HTTP/1.1 200 OK\r\nST:{SERVICE}\r\nLOCATION: http://{location}/device\r\n\r\n");
                    search.send_to(found.as_bytes(), from).await.unwrap();
                }
            });
            let asked = Arc::clone(&state);
            let answers = tokio::spawn(async move {
                loop {
                    let mut stream = BufReader::new(web.accept().await.unwrap().0);
                    let (mut line, mut head, mut length) = (String::new(), String::new(), 0);
                    stream.read_line(&mut line).await.unwrap();
                    while head != "\r\n" {
                        head.clear();
                        stream.read_line(&mut head).await.unwrap();
                        if let Some(value) = head.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                    }
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await.unwrap();
                    let (status, answer) = answer(&asked, &line, &String::from_utf8(body).unwrap());
                    let head =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
                    stream.write_all((head + &answer).as_bytes()).await.unwrap();
                }
            });
            Self { state, search_at, tasks: [searches.abort_handle(), answers.abort_handle()] }
        }
    }

    /// What stands between the tags of a name.
    fn value<'a>(body: &'a str, name: &str) -> &'a str {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name} in {body}"));
        rest.split_once('<').unwrap().0
    }

    fn answer(state: &Mutex<RouterState>, line: &str, body: &str) -> (&'static str, String) {
        let soap = |inside: String| format!("<s:Envelope xmlns:s=\"e\"><s:Body>{inside}</s:Body></s:Envelope>");
        let done = |action: &str, inside: &str| {
            ("200 OK", soap(format!("<u:{action}Response xmlns:u=\"{SERVICE}\">{inside}</u:{action}Response>")))
        };
        let refused = |code: u16| {
            let error = format!("<errorCode>{code}</errorCode><errorDescription>no</errorDescription>");
            let detail = format!("<detail><UPnPError>{error}</UPnPError></detail>");
            ("500 Internal Server Error", soap(format!("<s:Fault>{detail}</s:Fault>")))
        };
        if line.starts_with("GET /device ") {
            let urls = "<controlURL>/control</controlURL><SCPDURL>/schema</SCPDURL>";
            let service = format!("<service><serviceType>{SERVICE}</serviceType>{urls}</service>");
            let device = format!("<root><device><serviceList>{service}</serviceList></device></root>");
            return ("200 OK", device);
        }
        if line.starts_with("GET /schema ") {
            let argument = |name: &&str| format!("<argument><name>{name}</name><direction>in</direction></argument>");
            let action = |name: &str, arguments: &[&str]| {
                let list: String = arguments.iter().map(argument).collect();
                format!("<action><name>{name}</name><argumentList>{list}</argumentList></action>")
            };
            let actions = action("AddPortMapping", &ARGUMENTS) + &action("DeletePortMapping", &ARGUMENTS[..3]);
            return ("200 OK", format!("<scpd><actionList>{actions}</actionList></scpd>"));
        }
        if body.contains("GetExternalIPAddress") {
            return done("GetExternalIPAddress", "<NewExternalIPAddress>8.8.8.8</NewExternalIPAddress>");
        }
        let mut state = state.lock();
        let outer: u16 = value(body, "NewExternalPort").parse().unwrap();
        assert_eq!(value(body, "NewProtocol"), "UDP");
        if body.contains("DeletePortMapping") {
            state.mapped.remove(&outer);
            return done("DeletePortMapping", "");
        }
        assert_eq!(value(body, "NewInternalClient"), "127.0.0.1");
        let inner = value(body, "NewInternalPort").parse().unwrap();
        let lease = value(body, "NewLeaseDuration").parse().unwrap();
        if state.mapped.get(&outer).is_some_and(|(there, _)| *there != inner) {
            return refused(718);
        }
        if state.only_permanent && lease != PERMANENT {
            return refused(725);
        }
        if outer < 1024 {
            return refused(606);
        }
        state.mapped.insert(outer, (inner, lease));
        done("AddPortMapping", "")
    }

    fn request(local: u16, outer_port: u16) -> MapRequest {
        let local = SocketAddrV4::new([192, 168, 1, 2].into(), local);
        let (by, lease) = (MappingProtocol::Upnp, Duration::from_secs(3600));
        MapRequest { by, local, outer_address: None, outer_port, lease }
    }

    #[tokio::test]
    async fn ports_are_mapped_by_one_search_and_a_taken_one_is_told_from_a_refusal() {
        let router = FakeRouter::start().await;
        let mut igd = Igd { search_at: Some(router.search_at), ..Igd::default() };
        let external = |port| SocketAddrV4::new([8, 8, 8, 8].into(), port);
        let lease = request(0, 0).lease;
        assert_eq!(igd.map(request(9009, 9009)).await, Ok(Granted { external: external(9009), lease }));
        // The gateway is kept: whoever searches for it from now on finds none.
        router.tasks[0].abort();
        assert_eq!(igd.map(request(10_009, 9009)).await, Err(MappingFailure::Taken));
        let refused = igd.map(request(10_009, 80)).await;
        assert!(matches!(&refused, Err(MappingFailure::Refused(why)) if why.contains("not authorized")), "{refused:?}");
        router.state.lock().only_permanent = true;
        assert_eq!(igd.map(request(10_009, 20_001)).await, Ok(Granted { external: external(20_001), lease }));
        assert_eq!(router.state.lock().mapped, [(9009, (9009, 3600)), (20_001, (10_009, PERMANENT))].into());

        let MapRequest { by, local, .. } = request(10_009, 20_001);
        igd.unmap(Removal { by, local, external: external(20_001) }).await;
        assert_eq!(router.state.lock().mapped, [(9009, (9009, 3600))].into());
    }

    #[tokio::test]
    async fn a_gateway_that_is_gone_is_searched_for_anew() {
        let router = FakeRouter::start().await;
        let mut igd = Igd { search_at: Some(router.search_at), ..Igd::default() };
        assert!(igd.map(request(9009, 9009)).await.is_ok());
        drop(router);
        // Its tasks end when the runtime gets to them, and with them its sockets.
        while igd.map(request(9009, 9009)).await.is_ok() {}
        let router = FakeRouter::start().await;
        igd.search_at = Some(router.search_at);
        assert!(igd.map(request(9009, 9009)).await.is_ok());
    }
}
