//! The few elements of ASN.1 that a certificate is made of, in DER (X.690): read strictly, so that one value has one
//! encoding, and written.
//!
//! A reader of our own, because it is a page, and the general ones bring some twenty crates.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OID: u8 = 0x06;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF.
pub(crate) const SEQUENCE: u8 = 0x30;

/// The tag of a constructed element that a structure numbers by itself.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Tag numbers from here on take further bytes; nothing in a certificate has such a one.
const LONG_TAG: u8 = 0x1f;

/// Lengths from here on are encoded as a count of bytes and the bytes.
const LONG_LENGTH: usize = 0x80;

/// The bytes are no DER, or another element than expected stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedDer;

/// One element: its content, and all of it with tag and length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// What lies within.
    pub(crate) fn reader(&self) -> DerReader<'a> {
        DerReader(self.content)
    }
}

/// The DER that is left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DerReader<'a>(pub(crate) &'a [u8]);

impl<'a> DerReader<'a> {
    /// The next element, whatever it is.
    pub(crate) fn next(&mut self) -> Result<Element<'a>, MalformedDer> {
        let (&[tag, first], _) = self.0.split_first_chunk().ok_or(MalformedDer)?;
        if tag & LONG_TAG == LONG_TAG {
            return Err(MalformedDer);
        }
        let (header, length) = match usize::from(first) {
            short if short < LONG_LENGTH => (2, short),
            0x81 => (3, usize::from(*self.0.get(2).ok_or(MalformedDer)?)),
            0x82 => {
                let bytes = self.0.get(2..).and_then(|bytes| bytes.first_chunk::<2>()).ok_or(MalformedDer)?;
                (4, usize::from(u16::from_be_bytes(*bytes)))
            }
            // Longer than any certificate that is read, or of a length that is not given beforehand.
            _ => return Err(MalformedDer),
        };
        // The shortest form is the only one.
        let is_shortest = match header {
            3 => length >= LONG_LENGTH,
            4 => length > usize::from(u8::MAX),
            _ => true,
        };
        let end = header + length;
        if !is_shortest || self.0.len() < end {
            return Err(MalformedDer);
        }
        let (whole, rest) = self.0.split_at(end);
        self.0 = rest;
        Ok(Element { tag, content: &whole[header..], whole })
    }

    /// The next element, which has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<Element<'a>, MalformedDer> {
        self.next().and_then(|element| if element.tag == tag { Ok(element) } else { Err(MalformedDer) })
    }

    /// The next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, MalformedDer> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// The bytes of a BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], MalformedDer> {
        match self.expect(BIT_STRING)?.content {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(MalformedDer),
        }
    }

    /// Whether everything was read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing follows.
    pub(crate) fn end(self) -> Result<(), MalformedDer> {
        if self.is_empty() { Ok(()) } else { Err(MalformedDer) }
    }
}

/// An element with these parts as its content.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(length + 4);
    bytes.push(tag);
    // What is written here is far shorter than 64 kB.
    match length {
        0..LONG_LENGTH => bytes.push(length as u8),
        LONG_LENGTH..=0xff => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    parts.iter().for_each(|part| bytes.extend(*part));
    bytes
}

/// A BIT STRING of whole bytes.
pub(crate) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_shortest_length_is_read() {
        let refused: [&[u8]; 8] = [
            &[0x04],
            &[0x04, 0x01],
            &[0x04, 0x80],
            &[0x04, 0x81, 0x01, 0x00],
            &[0x04, 0x82, 0x00, 0x01, 0x00],
            &[0x04, 0x83, 0x00, 0x00, 0x01, 0x00],
            &[0x04, 0x82, 0x00],
            &[0x1f, 0x81, 0x01, 0x00],
        ];
        for bytes in refused {
            assert!(DerReader(bytes).next().is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn bits_are_whole_bytes() {
        assert_eq!(DerReader(&bits(&[7, 9])).bits(), Ok(&[7, 9][..]));
        assert_eq!(DerReader(&[BIT_STRING, 2, 1, 8]).bits(), Err(MalformedDer));
        assert_eq!(DerReader(&[BIT_STRING, 0]).bits(), Err(MalformedDer));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in 0_u8..0x1f, length in prop_oneof![0_usize..300, 65_000_usize..65_536], rest: Vec<u8>) {
            let content = vec![0x5a; length];
            let written = element(tag, &[&content]);
            let bytes = [&written[..], &rest].concat();
            let mut reader = DerReader(&bytes);
            let read = reader.expect(tag).unwrap();
            prop_assert_eq!((read.content, read.whole, reader.0), (&content[..], &written[..], &rest[..]));
        }

        /// What is read is what would be written: there is no second encoding.
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = DerReader(&bytes);
            while let Ok(read) = reader.next() {
                prop_assert_eq!(&element(read.tag, &[read.content])[..], read.whole);
            }
        }
    }
}
