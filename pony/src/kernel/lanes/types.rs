//! The kernel's own description of its types (BTF), as far as one question needs it.

/// Where in the kernel's `structure` its `member` begins, in bytes. `None` if it has none, or if
/// `btf` is not what `/sys/kernel/btf/vmlinux` holds.
pub(super) fn offset(btf: &[u8], structure: &str, member: &str) -> Option<u32> {
    let types = Types::parse(btf)?;
    let mut at = 0;
    while at < types.types.len() {
        let one = Type::parse(types.types, at)?;
        if one.kind == STRUCT && types.is_named(one.name, structure) {
            return types.offset(&one, member);
        }
        at = one.end;
    }
    None
}

struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Types<'a> {
    fn parse(btf: &'a [u8]) -> Option<Self> {
        if btf.get(..2)? != MAGIC.to_ne_bytes() {
            return None;
        }
        let header = word(btf, 4)?;
        let section = |offset, len| {
            let begin = header.checked_add(word(btf, offset)?)? as usize;
            btf.get(begin..begin.checked_add(word(btf, len)? as usize)?)
        };
        Some(Self {
            types: section(8, 12)?,
            strings: section(16, 20)?,
        })
    }

    fn is_named(&self, name: u32, wanted: &str) -> bool {
        let name = self.strings.get(name as usize..);
        let rest = name.and_then(|name| name.strip_prefix(wanted.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    fn offset(&self, structure: &Type, wanted: &str) -> Option<u32> {
        for at in (structure.details..structure.end).step_by(MEMBER) {
            if self.is_named(word(self.types, at)?, wanted) {
                let bits = word(self.types, at + 8)?;
                // With bit fields around, the upper byte is the width of one.
                let bits = if structure.has_bit_fields {
                    bits & 0x00ff_ffff
                } else {
                    bits
                };
                return (bits % 8 == 0).then_some(bits / 8);
            }
        }
        None
    }
}

struct Type {
    name: u32,
    kind: u32,
    has_bit_fields: bool,
    /// Where what comes after the fixed part begins, and where it ends.
    details: usize,
    end: usize,
}

impl Type {
    fn parse(types: &[u8], at: usize) -> Option<Self> {
        let info = word(types, at + 4)?;
        let kind = info >> 24 & 0x1f;
        let count = info as usize & 0xffff;
        let details = at + FIXED;
        let len = match kind {
            INTEGER | VARIABLE | DECLARATION_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | SECTION | ENUM_64 => count * 12,
            ENUM | PROTOTYPE => count * 8,
            POINTER..=TYPE_TAG => 0,
            // One that this version does not know: nothing after it can be found.
            _ => return None,
        };
        Some(Self {
            name: word(types, at)?,
            kind,
            has_bit_fields: info >> 31 == 1,
            details,
            end: details + len,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

const MAGIC: u16 = 0xeb9f;
/// What every type begins with, and what a member takes, in bytes.
const FIXED: usize = 12;
const MEMBER: usize = 12;
// Kinds of types. Those up to the last that are not here have nothing after the fixed part.
const INTEGER: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const DECLARATION_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM_64: u32 = 19;

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, a pointer, and `struct sock` with the members `len` at 0 and `acked` at 8.
    fn described(flags: u32, acked_at: u32) -> Vec<u8> {
        let strings = b"\0u64\0sock\0len\0acked\0";
        let words: Vec<u32> = [
            vec![1, INTEGER << 24, 8, 64],
            vec![0, POINTER << 24, 1],
            vec![5, STRUCT << 24 | flags | 2, 16],
            vec![10, 1, 0],
            vec![14, 1, acked_at],
        ]
        .concat();
        let len = u32::try_from(words.len() * 4).unwrap();
        let mut btf = MAGIC.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        let sections = [24, 0, len, len, u32::try_from(strings.len()).unwrap()];
        for word in sections.iter().chain(&words) {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(strings);
        btf
    }

    #[test]
    fn finds_a_member_and_nothing_else() {
        let btf = described(0, 64);
        assert_eq!(offset(&btf, "sock", "acked"), Some(8));
        assert_eq!(offset(&btf, "sock", "len"), Some(0));
        assert_eq!(offset(&btf, "sock", "ack"), None);
        assert_eq!(offset(&btf, "so", "acked"), None);
        let with_bit_fields = described(1 << 31, 3 << 24 | 64);
        assert_eq!(offset(&with_bit_fields, "sock", "acked"), Some(8));
        assert_eq!(offset(&described(0, 65), "sock", "acked"), None);
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_no_panic() {
        let btf = described(0, 64);
        for len in 0..btf.len() {
            assert_eq!(offset(&btf[..len], "sock", "acked"), None);
        }
        let mut unknown = btf;
        unknown[24 + 7] = 31;
        assert_eq!(offset(&unknown, "sock", "acked"), None);
    }
}
