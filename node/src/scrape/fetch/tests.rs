use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use super::*;
use crate::config::{self, HttpClientConfig};

const TIMEOUT: Duration = Duration::from_secs(5);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";

/// Answers each connection's first request with the next of `answers`, then closes it. Gives
/// its address and the heads of the requests.
fn server(answers: Vec<Vec<u8>>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (heads, received) = mpsc::sync_channel(16);
    thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            heads.send(request_head(&mut stream)).ok();
            stream.write_all(&answer).ok();
        }
    });
    (address, received)
}

fn request_head(stream: &mut impl std::io::Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_ascii_lowercase()
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn client(keys: &str) -> HttpClient {
    let text = format!("scrape_configs:\n- job_name: x\n{keys}");
    let config = config::parse(&text, std::path::Path::new("/")).expect("valid");
    HttpClient::new(config.scrape_configs[0].client.clone(), Duration::from_secs(1))
}

fn request(url: &str, timeout: Duration, body_bytes_max: u64) -> FetchRequest<'_> {
    FetchRequest { url, timeout, body_bytes_max, asks_gzip: true, falls_back_to_text: false }
}

async fn get(client: &HttpClient, url: &str, limit: u64) -> Result<String, String> {
    let request = request(url, TIMEOUT, limit);
    match fetch(client, request, 0).await {
        Ok(page) => Ok(String::from_utf8(page).expect("text")),
        Err(error) => Err(error.to_string()),
    }
}

async fn get_from(answers: Vec<Vec<u8>>, limit: u64) -> Result<String, String> {
    let (address, _heads) = server(answers);
    let client = HttpClient::new(HttpClientConfig::default(), TIMEOUT);
    get(&client, &format!("http://{address}/metrics"), limit).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("write");
    encoder.finish().expect("finish")
}

#[tokio::test]
async fn a_request_says_who_asks_for_what() {
    let (address, heads) = server(vec![answer(OK, b"a 1\n")]);
    let client = client("  basic_auth: {username: me, password: pw}");
    let page = get(&client, &format!("http://{address}/m?x=y"), 0).await;
    assert_eq!(page.as_deref(), Ok("a 1\n"));
    let head = heads.recv().expect("a request");
    for part in [
        "get /m?x=y http/1.1\r\n",
        "accept: text/plain;version=0.0.4,*/*;q=0.1\r\n",
        "accept-encoding: gzip\r\n",
        "user-agent: narthex/",
        "x-prometheus-scrape-timeout-seconds: 5\r\n",
        "authorization: basic bwu6chc=\r\n",
        &format!("host: {address}\r\n"),
    ] {
        assert!(head.contains(part), "{part:?} is not in {head:?}");
    }
}

#[tokio::test]
async fn answers_that_give_no_page() {
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "server returned HTTP status 503 Service Unavailable",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), "blank Content-Type"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "unsupported Content-Type \"text/html\"",
        ),
        (format!("{OK}Content-Length: 9\r\n\r\nshort").into_bytes(), "read page: "),
        (b"nonsense\r\n\r\n".to_vec(), "Get \"http://127.0.0.1"),
        (answer(OK, &[b'x'; 101]), "body size limit exceeded"),
        (answer(&format!("{OK}Content-Encoding: gzip\r\n"), b"not gzip"), "gzip: "),
        (
            answer(&format!("{OK}Content-Encoding: gzip\r\n"), &gzip(&[b'x'; 101])),
            "body size limit exceeded (100 bytes)",
        ),
        (
            answer(&format!("{OK}Content-Encoding: br\r\n"), b""),
            "unsupported Content-Encoding \"br\"",
        ),
        (answer(&format!("{OK}X-Long: {}\r\n", "x".repeat(17 << 10)), b""), "headers of more than"),
    ];
    for (answer, reason) in cases {
        let error = get_from(vec![answer], 100).await.expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
    let closed =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let client = HttpClient::new(HttpClientConfig::default(), TIMEOUT);
    let error = get(&client, &format!("http://{closed}/"), 0).await.expect_err("closed");
    assert!(error.contains("onnection refused"), "{error}");
    for url in ["ftp://x/", "http://", "nothing", "http://a b/"] {
        assert!(get(&client, url, 0).await.expect_err(url).contains("is not a valid URL"));
    }
}

#[tokio::test]
async fn a_page_without_a_known_type_is_text_where_told_so() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let (address, _heads) = server(vec![answer(head, b"a 1\n")]);
    let url = format!("http://{address}/");
    let told = FetchRequest { falls_back_to_text: true, ..request(&url, TIMEOUT, 0) };
    let page = fetch(&client(""), told, 0).await.expect("text");
    assert_eq!(page, b"a 1\n");
}

#[tokio::test]
async fn compressed_pages_are_read_and_bombs_are_not() {
    let head = format!("{OK}Content-Encoding: gzip\r\n");
    let page = get_from(vec![answer(&head, &gzip(b"a 1\n"))], 0).await;
    assert_eq!(page.as_deref(), Ok("a 1\n"));
    let bomb = gzip(&vec![0; 20 << 20]);
    let error = get_from(vec![answer(&head, &bomb)], 0).await.expect_err("a bomb");
    assert!(error.contains("inflates"), "{error}");
}

#[tokio::test]
async fn a_slow_target_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let client = HttpClient::new(HttpClientConfig::default(), TIMEOUT);
    let timeout = Duration::from_millis(30);
    let request = request(&url, timeout, 0);
    let error = fetch(&client, request, 0).await;
    assert!(error.expect_err("silence").to_string().ends_with("context deadline exceeded"));
}

#[tokio::test]
async fn redirects_are_followed_without_credentials_elsewhere() {
    let (elsewhere, their_heads) = server(vec![answer(OK, b"b 2\n")]);
    let to = |location: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let (address, heads) = server(vec![to("/there"), to(&format!("http://{elsewhere}/x"))]);
    let client = client("  authorization: {credentials: token}");
    let page = get(&client, &format!("http://{address}/here"), 0).await;
    assert_eq!(page.as_deref(), Ok("b 2\n"));
    for path in ["get /here ", "get /there "] {
        let head = heads.recv().expect("a request");
        assert!(head.contains(path) && head.contains("authorization: bearer token\r\n"), "{head}");
    }
    let head = their_heads.recv().expect("a request");
    assert!(head.contains("get /x ") && !head.contains("authorization"), "{head}");

    let (address, _heads) = server(vec![to("/there")]);
    let stays = self::client("  follow_redirects: false");
    let refused = get(&stays, &format!("http://{address}/here"), 0).await.expect_err("a redirect");
    assert_eq!(refused, "server returned HTTP status 302 Found");

    let circle = get_from(vec![to("/again"); 12], 0).await.expect_err("a circle");
    assert!(circle.contains("stopped after 10 redirects"), "{circle}");
}

#[test]
fn where_credentials_may_go() {
    let keeps = |from: &str, to: &str| {
        keeps_credentials(&from.parse().expect("a URL"), &to.parse().expect("a URL"))
    };
    assert!(keeps("http://a/x", "http://a/y"));
    assert!(keeps("http://a/x", "https://a/x"), "an upgrade");
    assert!(!keeps("https://a/x", "http://a/x"));
    assert!(!keeps("http://a/x", "http://b/x"));
    assert!(!keeps("http://a:9100/x", "http://a:9101/x"));
}

#[tokio::test]
async fn credentials_come_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let client = client(&format!("  authorization: {{credentials_file: {}}}", path.display()));
    let error = get(&client, "http://127.0.0.1:1/", 0).await.expect_err("no file");
    assert!(error.contains("read ") && error.contains("/token"), "{error}");
    std::fs::write(&path, "from-file\n").expect("write");
    let header = client.authorization().await.expect("readable").expect("a header");
    assert_eq!(header, "Bearer from-file");
}

/// A TLS server with a certificate for `target.test`, made anew. Gives its URL and certificate.
fn tls_server() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["target.test".to_owned()]).expect("a key");
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a certificate");
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/metrics", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            answer_tls(config.clone(), stream);
        }
    });
    (url, made.cert.pem())
}

/// Its page says how many protocols the client offered.
fn answer_tls(config: std::sync::Arc<rustls::ServerConfig>, mut stream: TcpStream) {
    let mut acceptor = rustls::server::Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(&mut stream).unwrap_or(0) == 0 {
            return;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => break accepted,
            Err(_) => return,
        }
    };
    let offered: Vec<_> = accepted.client_hello().alpn().into_iter().flatten().collect();
    let page = format!("offered {}\n", offered.len());
    let Ok(mut connection) = accepted.into_connection(config) else { return };
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    request_head(&mut tls);
    tls.write_all(&answer(OK, page.as_bytes())).ok();
    tls.conn.send_close_notify();
    tls.flush().ok();
}

#[tokio::test]
async fn tls_is_checked_unless_told_not_to() {
    let (url, certificate) = tls_server();
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).expect("write");
    let ca = ca.display();
    let with = |keys: &str| client(&format!("  tls_config: {{{keys}}}"));

    let unknown = get(&with(""), &url, 0).await.expect_err("not signed by anyone known");
    assert!(unknown.contains("certificate"), "{unknown}");
    let unnamed = get(&with(&format!("ca_file: {ca}")), &url, 0).await.expect_err("another name");
    assert!(unnamed.contains("certificate"), "{unnamed}");
    let named = with(&format!("ca_file: {ca}, server_name: target.test"));
    assert_eq!(get(&named, &url, 0).await.as_deref(), Ok("offered 2\n"));
    assert_eq!(
        get(&with("insecure_skip_verify: true"), &url, 0).await.as_deref(),
        Ok("offered 2\n")
    );
    let missing = get(&with("ca_file: /nonexistent.pem"), &url, 0).await.expect_err("no file");
    assert!(missing.contains("read /nonexistent.pem"), "{missing}");
}

#[tokio::test]
async fn http2_is_offered_unless_told_not_to() {
    let (url, _) = tls_server();
    let with = |key: &str| client(&format!("  tls_config: {{insecure_skip_verify: true}}\n{key}"));
    assert_eq!(get(&with(""), &url, 0).await.as_deref(), Ok("offered 2\n"));
    let without = with("  enable_http2: false");
    let page = get(&without, &url, 0).await.expect("a page");
    assert!(page == "offered 0\n" || page == "offered 1\n", "{page}");
}
