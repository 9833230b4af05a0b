//! A room unlike the two that there are, as a sub-network of state would be: it is offered with a proof and the hash of a block, it is
//! stored bare, and its keys name no block.

use alloy_consensus::Header;
use alloy_primitives::{B256, keccak256};
use bytes::Bytes;

use super::{Evidence, Form, Key, KeyError, Subject};
use crate::verify::{Examined, Fault, Unverified};
use crate::{BlockId, ContentId};

const HASH_LEN: usize = 32;

/// The hash of a trie's only node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeKey(B256);

impl Key for NodeKey {
    fn decode(key: &[u8]) -> Result<Self, KeyError> {
        let [selector, hash @ ..] = key else { return Err(KeyError::Empty) };
        let length = KeyError::Length { network: "test", selector: *selector, expected: 33, actual: key.len() };
        hash.try_into().map(Self).map_err(|_| length)
    }

    fn encode(&self) -> Bytes {
        [&[0x20], self.0.as_slice()].concat().into()
    }

    fn max_value_len(&self, form: Form) -> usize {
        match form {
            Form::Offered => HASH_LEN + 1024,
            Form::Stored => 1024,
        }
    }

    fn subject(&self) -> Subject {
        Subject::Other
    }

    fn label(&self) -> &'static str {
        "test_node"
    }

    fn evidence(&self, form: Form, value: &[u8]) -> Result<Evidence, Unverified> {
        match form {
            // No header comes with it: the offer says which block's state proves the node.
            Form::Offered => {
                let hash = value.first_chunk().ok_or(Unverified::TooShort { actual: value.len(), needed: HASH_LEN })?;
                Ok(Evidence::Header(BlockId::Hash(B256::new(*hash))))
            }
            Form::Stored => Ok(Evidence::Key),
        }
    }

    fn examine(&self, form: Form, value: Bytes) -> Result<Examined, Unverified> {
        let node = match form {
            Form::Offered => value.slice(HASH_LEN..),
            Form::Stored => value,
        };
        // The only node of a trie is its root.
        let root = keccak256(&node);
        match form {
            Form::Offered => Ok(Examined::of_state(root, node)),
            Form::Stored if root == self.0 => Ok(Examined::by_key(node)),
            Form::Stored => Err(Unverified::State { expected: self.0, actual: root }),
        }
    }
}

#[test]
fn a_room_may_offer_in_another_form_than_it_stores_and_name_the_block_in_the_value() {
    let node = Bytes::from_static(b"the only node");
    let key = NodeKey(keccak256(&node));
    assert_eq!(key.content_id(), ContentId::sha256(&key.encode()));
    assert_eq!(NodeKey::decode(&key.encode()), Ok(key));
    let block = B256::repeat_byte(7);
    let offer: Bytes = [block.as_slice(), &node].concat().into();
    assert_eq!(key.evidence(Form::Offered, &offer), Ok(Evidence::Header(block.into())));
    let short = key.evidence(Form::Offered, &offer[1..HASH_LEN]).unwrap_err();
    assert_eq!((&short, short.fault()), (&Unverified::TooShort { actual: 31, needed: HASH_LEN }, Fault::Sender));
    let header = Header { state_root: key.0, ..Header::default() };
    let examined = key.examine(Form::Offered, offer.clone()).unwrap();
    assert_eq!(examined.clone().check(Some(&header)), Ok(node.clone()), "what is stored is the node alone");
    let other = Header { state_root: B256::ZERO, ..Header::default() };
    assert_eq!(examined.clone().check(Some(&other)), Err(Unverified::State { expected: B256::ZERO, actual: key.0 }));
    let unasked = examined.check(None).unwrap_err();
    assert_eq!(
        (&unasked, unasked.fault()),
        (&Unverified::NotExamined, Fault::Own),
        "it takes a header, which nobody fetched"
    );

    assert_eq!(key.evidence(Form::Stored, &node), Ok(Evidence::Key));
    assert_eq!(key.examine(Form::Stored, node.clone()).unwrap().check(None), Ok(node));
    assert!(key.examine(Form::Stored, Bytes::from_static(b"another")).is_err());
}
