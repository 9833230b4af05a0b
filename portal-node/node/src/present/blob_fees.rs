//! What blob gas cost. How fast its price moves has changed with forks, and by forks that change nothing else.

use alloy_consensus::Header;
use alloy_eips::eip7840::BlobParams;
use content_types::ChainSpec;

/// From when on mainnet had other blob parameters than Prague's (EIP-7892): seconds since 1970.
const MAINNET: (u64, [(u64, BlobParams); 2]) =
    (1, [(1_765_290_071, BlobParams::bpo1()), (1_767_747_671, BlobParams::bpo2())]);
/// The same of Sepolia.
const SEPOLIA: (u64, [(u64, BlobParams); 2]) =
    (11_155_111, [(1_761_017_184, BlobParams::bpo1()), (1_761_607_008, BlobParams::bpo2())]);

/// The blob parameters of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFees {
    /// After Prague, each with the time from which it counts, in order.
    scheduled: Vec<(u64, BlobParams)>,
}

impl BlobFees {
    /// Cancun's and Prague's parameters, and after them others, each from its time on (seconds since 1970).
    pub fn new(mut scheduled: Vec<(u64, BlobParams)>) -> Self {
        scheduled.sort_by_key(|(time, _)| *time);
        Self { scheduled }
    }

    /// Those of a chain. A private chain's specification has no word about them, so that it has those of Cancun and Prague.
    pub fn of(chain: &ChainSpec) -> Self {
        let known = [MAINNET, SEPOLIA].into_iter().find(|(chain_id, _)| *chain_id == chain.chain_id());
        Self::new(known.map_or_else(Vec::new, |(_, scheduled)| scheduled.to_vec()))
    }

    /// What a unit of blob gas cost in the block with this header; `None` before Cancun.
    pub(super) fn price(&self, header: &Header) -> Option<u128> {
        let excess = header.excess_blob_gas?;
        // Prague put the requests' hash into the header.
        let of_fork = if header.requests_hash.is_some() { BlobParams::prague() } else { BlobParams::cancun() };
        let later = self.scheduled.iter().rev().find(|(time, _)| *time <= header.timestamp);
        Some(later.map_or(of_fork, |(_, params)| *params).calc_blob_fee(excess))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    #[test]
    fn the_price_moves_as_fast_as_the_fork_has_it() {
        let fees = BlobFees::of(&ChainSpec::mainnet());
        let at = |timestamp, requests_hash| {
            let header = Header { timestamp, requests_hash, excess_blob_gas: Some(100_000_000), ..Header::default() };
            fees.price(&header)
        };
        // e to the power of excess by fraction; EIP-4844 sums a series of whole numbers, which comes out a little lower.
        let is_price = |price: Option<u128>, fraction: f64| {
            let (price, exact) = (price.unwrap() as f64, (100_000_000.0 / fraction).exp());
            price <= exact && price > exact * 0.999
        };
        assert!(is_price(at(1_740_000_000, None), 3_338_477.0));
        assert!(is_price(at(1_765_290_070, Some(B256::ZERO)), 5_007_716.0));
        assert!(is_price(at(1_765_290_071, Some(B256::ZERO)), 8_346_193.0));
        assert!(is_price(at(1_767_747_671, Some(B256::ZERO)), 11_684_671.0));
        assert_eq!(fees.price(&Header::default()), None);
    }
}
