//! Bytes of a request. The head of a route never changes within a run, so it is made once and copied.

/// The constant part of a request: everything up to the value of `content-length`.
#[derive(Debug, Clone)]
pub struct RequestTemplate {
    head: Vec<u8>,
}

impl RequestTemplate {
    /// A `POST` with a JSON body. `bearer`: the API key, if the route needs one.
    pub fn post(authority: &str, path: &str, bearer: Option<&str>) -> RequestTemplate {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {authority}\r\n");
        if let Some(key) = bearer {
            head.push_str("authorization: Bearer ");
            head.push_str(key);
            head.push_str("\r\n");
        }
        head.push_str("content-type: application/json\r\ncontent-length: ");
        RequestTemplate { head: head.into_bytes() }
    }

    /// A `GET`; `write` is given an empty body.
    pub fn get(authority: &str, path: &str, bearer: Option<&str>) -> RequestTemplate {
        let mut head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n");
        if let Some(key) = bearer {
            head.push_str("authorization: Bearer ");
            head.push_str(key);
            head.push_str("\r\n");
        }
        head.push_str("content-length: ");
        RequestTemplate { head: head.into_bytes() }
    }

    /// Appends the whole request.
    pub fn write(&self, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }
}

/// Appends a whole `GET` without allocating. `path` comes in pieces.
pub(crate) fn write_get(authority: &str, bearer: &str, path: &[&str], out: &mut Vec<u8>) {
    write_head(b"GET ", authority, bearer, path, out);
    out.extend_from_slice(b"content-length: 0\r\n\r\n");
}

/// The same for a `POST` with a JSON body.
pub(crate) fn write_post(authority: &str, bearer: &str, path: &[&str], body: &[u8], out: &mut Vec<u8>) {
    write_head(b"POST ", authority, bearer, path, out);
    out.extend_from_slice(b"content-type: application/json\r\ncontent-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn write_head(method: &[u8], authority: &str, bearer: &str, path: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(method);
    path.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(authority.as_bytes());
    out.extend_from_slice(b"\r\nauthorization: Bearer ");
    out.extend_from_slice(bearer.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_whole() {
        let mut out = Vec::new();
        RequestTemplate::post("h:1", "/v1/payments", Some("pk")).write(b"{}", &mut out);
        let expected = "POST /v1/payments HTTP/1.1\r\nhost: h:1\r\nauthorization: Bearer pk\r\n\
                        content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        RequestTemplate::get("h:1", "/readyz", None).write(b"", &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "GET /readyz HTTP/1.1\r\nhost: h:1\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn requests_without_a_template_are_the_same() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        RequestTemplate::post("h:1", "/v1/a/b", Some("pk")).write(b"{}", &mut one);
        write_post("h:1", "pk", &["/v1/", "a", "/b"], b"{}", &mut other);
        assert_eq!(one, other);
        one.clear();
        other.clear();
        RequestTemplate::get("h:1", "/v1/a", Some("pk")).write(b"", &mut one);
        write_get("h:1", "pk", &["/v1/", "a"], &mut other);
        assert_eq!(one, other);
    }
}
