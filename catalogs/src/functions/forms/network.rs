//! Addresses: the forms that are written without shortcuts. PostgreSQL also reads `10.1/16` and its kin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_spi::{Error, Result};

use super::invalid;

/// `inet_in`: an address with the number of its network's bits, which is not shown where it is all of them.
pub(super) fn inet(text: &str) -> Result<String> {
    let (address, bits) = parsed("inet", text)?;
    Ok(match bits == width(address) {
        true => address.to_string(),
        false => format!("{address}/{bits}"),
    })
}

/// `cidr_in`: a network, which has no bits right of its mask.
pub(super) fn cidr(text: &str) -> Result<String> {
    let (address, bits) = parsed("cidr", text)?;
    let value = match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let host = value.checked_shl(u32::from(bits)).unwrap_or(0);
    if host != 0 {
        let error = Error::new(
            sluice_spi::SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid cidr value: \"{text}\""),
        );
        return Err(error.with_detail("Value has bits set to right of mask."));
    }
    Ok(format!("{address}/{bits}"))
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn parsed(pg_type: &str, text: &str) -> Result<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let is_short = !address.is_empty()
        && !address.contains(':')
        && address.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let parsed = match address.parse::<Ipv4Addr>() {
        Ok(address) => IpAddr::V4(address),
        // Leading zeros and missing parts, which PostgreSQL reads by rules of its own.
        Err(_) if is_short => {
            let message = format!("the {pg_type} value \"{text}\" is not supported");
            return Err(Error::unsupported(message).with_hint("Write four numbers."));
        }
        Err(_) => match address.parse::<Ipv6Addr>() {
            Ok(address) => IpAddr::V6(address),
            Err(_) => return Err(invalid(pg_type, text)),
        },
    };
    let bits = match bits {
        None => width(parsed),
        Some(bits) if !bits.is_empty() && bits.len() <= 3 => bits
            .parse::<u8>()
            .ok()
            .filter(|count| *count <= width(parsed) && !bits.starts_with('+'))
            .ok_or_else(|| invalid(pg_type, text))?,
        Some(_) => return Err(invalid(pg_type, text)),
    };
    Ok((parsed, bits))
}

/// `macaddr_in`: six bytes with colons, hyphens or dots between them, or none.
pub(super) fn macaddr(text: &str) -> Result<String> {
    let trimmed = text.trim();
    let groups: Vec<&str> = trimmed.split([':', '-', '.']).collect();
    let separators: Vec<char> = trimmed
        .chars()
        .filter(|c| matches!(c, ':' | '-' | '.'))
        .collect();
    let one_kind = separators.windows(2).all(|pair| pair[0] == pair[1]);
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let known = match (lengths.as_slice(), separators.first()) {
        ([2, 2, 2, 2, 2, 2], Some(':' | '-')) => one_kind,
        ([6, 6], Some(':' | '-')) | ([4, 4, 4], Some('.' | '-')) => one_kind,
        ([12], None) => true,
        _ => false,
    };
    let digits: String = groups.concat();
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(invalid("macaddr", text));
    }
    if !known {
        let message = format!("the macaddr value \"{text}\" is not supported");
        return Err(Error::unsupported(message).with_hint("Write it as 08:00:2b:01:02:03."));
    }
    let bytes: Vec<String> = digits
        .to_ascii_lowercase()
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    Ok(bytes.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from a real server.
    #[test]
    fn addresses_have_one_form() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("10.0.0.1/8", "10.0.0.1/8"),
            ("::1/128", "::1"),
            ("2001:DB8:0:0:0:0:0:1/64", "2001:db8::1/64"),
        ] {
            assert_eq!(inet(text).unwrap(), shown);
        }
        assert_eq!(cidr("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        assert_eq!(cidr("10.1.2.3").unwrap(), "10.1.2.3/32");
        assert!(cidr("10.0.0.1/8").is_err());
        for text in ["", "10.1/16", "10.0.0.256", "::1/129", "x", "10.0.0.1/"] {
            assert!(inet(text).is_err(), "{text}");
        }
        for text in [
            "08:00:2b:01:02:03",
            "08-00-2b-01-02-03",
            "08002b:010203",
            "0800.2b01.0203",
            "08002B010203",
        ] {
            assert_eq!(macaddr(text).unwrap(), "08:00:2b:01:02:03");
        }
        assert!(macaddr("08:00-2b:01:02:03").is_err());
    }
}
