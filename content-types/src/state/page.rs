//! A part of a way down a trie that fits one packet, for peers that only discv5 reaches.
//!
//! An answer over discv5 is one packet, and a node of the upper levels takes half of it. So what a peer has of a way is laid out
//! over pages, each as full as whole nodes make it, and asked for page by page, several at once: whoever answers keeps nothing from one to
//! the next, and nothing that is sent is larger than what FINDCONTENT brings.
//!
//! The bytes are in `PROTOCOL.md`.

use alloy_primitives::bytes::BufMut;
use bytes::{Buf, Bytes};

use super::way::Way;
use crate::limits::MAX_TRIE_NODE_LENGTH;

/// First byte of the request: no message of the Portal wire protocol begins with it.
const SELECTOR: u8 = 0xca;

/// Pages of a way that can be asked for. A way of 65 nodes, the longest, has no more.
pub const MAX_PAGES: u8 = 65;

/// Most bytes of a page: what a peer sends as inline content.
pub const MAX_PAGE_LENGTH: usize = 1165;

/// A node's length, before it.
const LENGTH_BYTES: usize = 2;

/// A page of a way, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayPage {
    /// The way, from the first node of the first page on.
    pub way: Way,
    /// Which page, from 0.
    pub page: u8,
}

impl WayPage {
    /// The body of the TALKREQ: selector, page, way.
    pub fn encode(&self) -> Vec<u8> {
        [&[SELECTOR, self.page][..], &self.way.encode()].concat()
    }

    /// The same from bytes; `None` if they are none of such a request.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [SELECTOR, page @ 0..MAX_PAGES, way @ ..] = bytes else { return None };
        Some(Self { way: Way::decode(way)?, page: *page })
    }
}

/// Lays out the nodes of a way over pages, and keeps one.
#[derive(Debug)]
pub struct PageFiller {
    wanted: u8,
    page: u8,
    length: usize,
    kept: Vec<u8>,
}

impl PageFiller {
    /// For the page that is wanted.
    pub fn new(wanted: u8) -> Self {
        Self { wanted, page: 0, length: 0, kept: Vec::new() }
    }

    /// The next node of the way, bare; whether another one could still belong to the page.
    pub fn push(&mut self, node: &[u8]) -> bool {
        let Ok(length) = u16::try_from(node.len()) else { return false };
        if self.length + LENGTH_BYTES + node.len() > MAX_PAGE_LENGTH {
            (self.page, self.length) = (self.page.saturating_add(1), 0);
        }
        self.length += LENGTH_BYTES + node.len();
        if self.page == self.wanted && self.length <= MAX_PAGE_LENGTH {
            self.kept.put_u16(length);
            self.kept.put_slice(node);
        }
        self.page <= self.wanted
    }

    /// The page; empty if the way did not come so far.
    pub fn finish(self) -> Bytes {
        self.kept.into()
    }
}

/// The nodes of a page, none of them empty or longer than a node can be; `None` if it is laid out otherwise.
pub fn nodes_of(mut page: Bytes) -> Option<Vec<Bytes>> {
    let mut nodes = Vec::new();
    while page.has_remaining() {
        let length = usize::from(page.try_get_u16().ok()?);
        if length == 0 || length > MAX_TRIE_NODE_LENGTH || length > page.len() {
            return None;
        }
        nodes.push(page.split_to(length));
    }
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, hex};
    use proptest::prelude::*;

    use super::*;

    fn pages(nodes: &[Bytes]) -> Vec<Vec<Bytes>> {
        let page = |wanted| {
            let mut filler = PageFiller::new(wanted);
            let mut nodes = nodes.iter();
            while nodes.next().is_some_and(|node| filler.push(node)) {}
            filler.finish()
        };
        let pages: Vec<Bytes> = (0..MAX_PAGES).map(page).take_while(|page| !page.is_empty()).collect();
        assert!(pages.iter().all(|page| page.len() <= MAX_PAGE_LENGTH));
        pages.into_iter().map(|page| nodes_of(page).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn the_pages_of_a_way_are_its_nodes_in_order(lengths in prop::collection::vec(1..=MAX_TRIE_NODE_LENGTH, 0..65)) {
            let nodes: Vec<Bytes> = lengths.iter().zip(0_u8..).map(|(length, nth)| vec![nth; *length].into()).collect();
            let pages = pages(&nodes);
            prop_assert_eq!(pages.concat(), nodes);
            // None has room for the first node of the next.
            let taken = |page: &Vec<Bytes>| page.iter().map(|node| LENGTH_BYTES + node.len()).sum::<usize>();
            for two in pages.windows(2) {
                prop_assert!(taken(&two[0]) + LENGTH_BYTES + two[1][0].len() > MAX_PAGE_LENGTH);
            }
        }

        #[test]
        fn nothing_else_is_read_as_a_page_or_a_request(bytes in prop::collection::vec(any::<u8>(), 0..200), page in 0..70_u8) {
            if let Some(nodes) = nodes_of(bytes.clone().into()) {
                let again: Vec<u8> = nodes.iter().flat_map(|node| [&(node.len() as u16).to_be_bytes()[..], node].concat()).collect();
                prop_assert_eq!(&again, &bytes);
            }
            if let Some(request) = WayPage::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
            let way = Way::new(None, &B256::repeat_byte(1), 3, B256::repeat_byte(2)).unwrap();
            let request = WayPage { way, page };
            prop_assert_eq!(WayPage::decode(&request.encode()), (page < MAX_PAGES).then_some(request));
        }
    }

    #[test]
    fn the_vectors_of_the_protocol_are_what_is_written_and_read() {
        let text = include_str!("../../PROTOCOL.md");
        let (_, block) = text.split_once("```text way vectors\n").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let told: Vec<_> = block.lines().map(|line| hex::decode(line.split_once(": ").unwrap().1).unwrap()).collect();
        let way = |storage_of| Way::new(storage_of, &B256::repeat_byte(0xbb), 3, B256::repeat_byte(0xaa)).unwrap();
        let of_account = WayPage { way: way(None), page: 1 };
        let of_storage = WayPage { way: way(Some(B256::repeat_byte(0xcc))), page: 0 };
        let nodes = [Bytes::from_static(&[0xc0]), Bytes::from_static(&[0xc1, 0x80])];
        let mut filler = PageFiller::new(0);
        assert!(nodes.iter().all(|node| filler.push(node)));
        assert_eq!(told, [of_account.encode(), of_storage.encode(), filler.finish().to_vec()]);
        assert_eq!(WayPage::decode(&told[0]), Some(of_account));
        assert_eq!(WayPage::decode(&told[1]), Some(of_storage));
        assert_eq!(nodes_of(told[2].clone().into()).unwrap(), nodes);
    }

    #[test]
    fn a_page_of_anything_but_nodes_is_refused() {
        assert_eq!(nodes_of(Bytes::new()), Some(Vec::new()));
        assert_eq!(nodes_of(Bytes::from_static(&[0, 1, 7])), Some(vec![Bytes::from_static(&[7])]));
        for wrong in [&[0][..], &[0, 0], &[0, 2, 7], &[0, 1, 7, 0]] {
            assert_eq!(nodes_of(Bytes::copy_from_slice(wrong)), None, "{wrong:?}");
        }
        let long = [&(MAX_TRIE_NODE_LENGTH as u16 + 1).to_be_bytes()[..], &[7; MAX_TRIE_NODE_LENGTH + 1]].concat();
        assert_eq!(nodes_of(long.into()), None);
    }
}
