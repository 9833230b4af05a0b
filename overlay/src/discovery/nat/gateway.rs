//! Which router this machine's packets for the Internet go to, as the system's table of routes has it.

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;

/// Linux's table of IPv4 routes as text.
const ROUTES: &str = "/proc/net/route";

/// What is read of the table, some five hundred routes.
const MAX_ROUTES_BYTES: u64 = 64 << 10;

/// The flags of a route that is up and leads through a gateway.
const UP_THROUGH_GATEWAY: u16 = 0x1 | 0x2;

/// The default gateway; none if there is none, or on a system without such a table.
pub(super) async fn default_gateway() -> io::Result<Option<Ipv4Addr>> {
    let read = || {
        let mut table = String::new();
        File::open(ROUTES)?.take(MAX_ROUTES_BYTES).read_to_string(&mut table)?;
        Ok(of_table(&table))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// The gateway of the default route that is preferred.
fn of_table(table: &str) -> Option<Ipv4Addr> {
    let route = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        // An address stands there as the number that its bytes make in memory.
        let address = |hex| u32::from_str_radix(hex, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()));
        let is_default = address(destination)?.is_unspecified() && address(mask)?.is_unspecified();
        let flags = u16::from_str_radix(flags, 16).ok()?;
        let gateway = address(gateway).filter(|gateway| !gateway.is_unspecified())?;
        let leads_out = is_default && flags & UP_THROUGH_GATEWAY == UP_THROUGH_GATEWAY;
        leads_out.then_some((metric.parse::<u32>().ok()?, gateway))
    };
    table.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn line(destination: [u8; 4], gateway: [u8; 4], flags: u16, metric: u32, mask: [u8; 4]) -> String {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let (destination, gateway, mask) = (hex(destination), hex(gateway), hex(mask));
        format!("eth0\t{destination}\t{gateway}\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
    }

    #[test]
    fn the_gateway_of_the_best_default_route_is_taken() {
        let (any, net, lan) = ([0; 4], [192, 168, 1, 0], [255, 255, 255, 0]);
        let mobile = line(any, [10, 0, 0, 138], 3, 700, any);
        let home = line(any, [192, 168, 1, 1], 3, 100, any);
        let down = line(any, [172, 16, 0, 1], 2, 0, any);
        let without_gateway = line(any, any, 1, 0, any);
        let inside = line(net, any, 1, 0, lan) + &line([10, 8, 0, 0], [192, 168, 1, 7], 3, 0, lan);
        let table = [HEAD, &mobile, &down, &without_gateway, &home, &inside].concat();
        assert_eq!(of_table(&table), Some([192, 168, 1, 1].into()));
        assert_eq!(of_table(&(HEAD.to_owned() + &inside)), None);
        assert_eq!(of_table(HEAD), None);
    }

    proptest! {
        #[test]
        fn no_table_is_too_odd(table in "(?s).{0,400}", fields in proptest::collection::vec("[0-9A-Fa-f]{1,9}", 0..12)) {
            of_table(&table);
            of_table(&fields.join("\t"));
        }
    }
}
