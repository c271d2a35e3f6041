//! The frames that a client sends, as bytes: for scripts that put them in any order.

/// A frame: type byte, length, body.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(((body.len() + 4) as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A startup packet of a protocol version.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(cstring(name));
        body.extend(cstring(value));
    }
    body.push(0);
    let mut bytes = ((body.len() + 4) as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// Text with the zero byte behind it.
pub fn cstring(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Parse: a statement under a name, with declared parameter types.
pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = cstring(name);
    body.extend(cstring(sql));
    body.extend((types.len() as u16).to_be_bytes());
    for oid in types {
        body.extend(oid.to_be_bytes());
    }
    frame(b'P', &body)
}

/// Bind: a portal over a statement, with text parameters and one result format for all columns.
pub fn bind(portal: &str, statement: &str, values: &[Option<&str>], result_format: u16) -> Vec<u8> {
    let mut body = cstring(portal);
    body.extend(cstring(statement));
    body.extend(0_u16.to_be_bytes());
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend((value.len() as u32).to_be_bytes());
                body.extend(value.as_bytes());
            }
        }
    }
    body.extend(1_u16.to_be_bytes());
    body.extend(result_format.to_be_bytes());
    frame(b'B', &body)
}

/// Execute: at most `limit` rows of a portal, 0 for all.
pub fn execute(portal: &str, limit: u32) -> Vec<u8> {
    let mut body = cstring(portal);
    body.extend(limit.to_be_bytes());
    frame(b'E', &body)
}

/// Describe: `S` a statement, `P` a portal.
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    body.extend(cstring(name));
    frame(b'D', &body)
}

/// Close: `S` a statement, `P` a portal.
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    body.extend(cstring(name));
    frame(b'C', &body)
}

/// Sync.
pub fn sync() -> Vec<u8> {
    frame(b'S', &[])
}
