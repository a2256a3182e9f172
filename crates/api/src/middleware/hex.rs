//! Hexadecimal digits of random ids.

/// All digits of `bits`, in lower case. It compiles to a few vector instructions.
pub(super) fn digits(bits: u128) -> [u8; 32] {
    let bytes = bits.to_be_bytes();
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = byte >> 4;
        pair[1] = byte & 0xf;
    }
    digits.map(|nibble| nibble + if nibble < 10 { b'0' } else { b'a' - 10 })
}

/// Whether the text consists of such digits, and not only of zeros. It has no branches, so it is vectorized too.
pub(super) fn is_id(text: &[u8]) -> bool {
    let are_digits = text.iter().fold(true, |yes, byte| yes & is_digit(*byte));
    let bits = text.iter().fold(0, |bits, byte| bits | (byte ^ b'0'));
    are_digits && bits != 0
}

/// Lower case only, as the standard of traces requires.
pub(super) const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn digits_are_those_of_the_standard_library(bits: u128) {
            let digits = digits(bits);
            prop_assert_eq!(String::from_utf8(digits.to_vec()), Ok(format!("{bits:032x}")));
            prop_assert_eq!(is_id(&digits), bits != 0);
        }
    }

    #[test]
    fn an_id_is_of_lower_case_digits_and_not_zero() {
        for (text, yes) in
            [("0", false), ("00", false), ("01", true), ("f0", true), ("F0", false), ("g1", false), ("", false)]
        {
            assert_eq!(is_id(text.as_bytes()), yes, "{text}");
        }
    }
}
