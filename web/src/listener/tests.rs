use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::access;

struct Served {
    address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
    readiness: Readiness,
}

async fn serve(options: WebOptions) -> Served {
    let clock = Clock::fixed(narthex_model::Timestamp::default());
    let web = Web::open(options, clock).expect("valid options");
    let readiness = web.readiness();
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut routes = Routes::new();
    routes.http(&access::QUERY, async || "answer".repeat(100));
    routes.http(&access::WRITE, async || StatusCode::NO_CONTENT);
    routes.http(&access::RELOAD, async || StatusCode::OK);
    web.serve(vec![socket], routes, Registry::default(), (&tasks, &stop)).await.expect("serve");
    tasks.close();
    Served { address, tasks, stop, readiness }
}

impl Served {
    async fn ask(&self, method: &str, path: &str, header: (&str, &str)) -> http::Response<Bytes> {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(header.0, header.1)
            .body(Full::default())
            .expect("request");
        let (head, body) = client.request(request).await.expect("answer").into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        http::Response::from_parts(head, body)
    }

    async fn get(&self, path: &str) -> http::Response<Bytes> {
        self.ask("GET", path, ("Accept", "*/*")).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    let served = serve(WebOptions::default()).await;
    assert_eq!(served.get("/-/healthy").await.status(), 200);
    assert_eq!(served.get("/-/ready").await.status(), 200);
    served.readiness.set("shards", Err("no leader for shard 3".to_owned()));
    let waiting = served.get("/-/ready").await;
    assert_eq!(waiting.status(), 503);
    assert!(waiting.body().ends_with(b"no leader for shard 3\n"));
    let metrics = served.get("/metrics").await;
    let text = String::from_utf8_lossy(metrics.body());
    assert!(text.contains(r#"prometheus_http_requests_total{handler="/-/ready",code="503"} 1"#));
    assert_eq!(served.get("/nowhere").await.status(), 404);
    assert_eq!(served.ask("DELETE", "/api/v1/query", ("Accept", "*/*")).await.status(), 405);
    served.end().await;
}

#[tokio::test]
async fn pages_may_read_but_not_write_and_answers_are_compressed() {
    let served = serve(WebOptions::default()).await;
    let origin = ("Origin", "http://evil.example");
    let read = served.ask("GET", "/api/v1/query", origin).await;
    assert_eq!(read.status(), 200);
    assert_eq!(read.headers()["access-control-allow-origin"], "*");
    assert_eq!(served.ask("OPTIONS", "/api/v1/query", origin).await.status(), 204);
    let write = served.ask("POST", "/api/v1/write", origin).await;
    assert_eq!(write.status(), 403);
    assert!(write.headers().get("access-control-allow-origin").is_none());
    let packed = served.ask("GET", "/api/v1/query", ("Accept-Encoding", "gzip")).await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = served.ask("GET", "/api/v1/query", ("Accept-Encoding", "deflate")).await;
    assert_eq!(packed.headers()["content-encoding"], "deflate");
    served.end().await;
}

#[tokio::test]
async fn routes_lie_below_the_external_urls_path() {
    let external_url = Some("http://metrics.example.org/prom/".to_owned());
    let served = serve(WebOptions { external_url, ..WebOptions::default() }).await;
    assert_eq!(served.get("/prom/api/v1/query").await.status(), 200);
    assert_eq!(served.get("/api/v1/query").await.status(), 404);
    let root = served.get("/").await;
    assert_eq!(
        (root.status().as_u16(), &root.headers()["location"]),
        (303, &HeaderValue::from_static("/prom/"))
    );
    served.end().await;
}

#[tokio::test]
async fn users_of_the_file_are_in_force_and_reloaded() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("web.yml");
    let hash = bcrypt::hash("secret", 4).expect("hash");
    std::fs::write(&path, format!("basic_auth_users: {{ann: {hash}}}\n")).expect("write");
    let options = WebOptions { config_file: Some(path.clone()), ..WebOptions::default() };
    let served = serve(options).await;
    let refused = served.get("/api/v1/query").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Basic");
    let ann = ("Authorization", "Basic YW5uOnNlY3JldA==");
    assert_eq!(served.ask("GET", "/api/v1/query", ann).await.status(), 200);
    served.end().await;
}

#[tokio::test]
async fn the_lifecycle_api_needs_its_flag() {
    let reload = async |enable_lifecycle| {
        let served = serve(WebOptions { enable_lifecycle, ..WebOptions::default() }).await;
        let answer = served.ask("POST", "/-/reload", ("Accept", "*/*")).await;
        served.end().await;
        answer
    };
    let refused = reload(false).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.body(), "Lifecycle API is not enabled.\n");
    assert_eq!(reload(true).await.status(), 200);
}

#[test]
fn an_address_beyond_loopback_needs_somebody_who_is_allowed() {
    let open = |allow_anonymous| {
        let options = WebOptions { allow_anonymous, ..WebOptions::default() };
        Web::open(options, Clock::fixed(narthex_model::Timestamp::default())).expect("valid")
    };
    let beyond: SocketAddr = "0.0.0.0:9090".parse().expect("address");
    let loopback: SocketAddr = "[::1]:9090".parse().expect("address");
    let nobody = open(RoleSet::NONE);
    assert!(nobody.check_address(loopback).is_ok());
    let error = nobody.check_address(beyond).expect_err("refused").to_string();
    assert!(error.contains("--web.config.file") && error.contains("--web.allow-anonymous"));
    assert!(open(RoleSet::parse("read").expect("valid")).check_address(beyond).is_ok());
}

#[test]
fn prefixes_are_taken_off() {
    let placed =
        |prefix: &str, uri: &str| below_prefix(&clean_prefix(prefix), &uri.parse().expect("URI"));
    assert_eq!(placed("/", "/api?x=1"), Placed::Here);
    assert_eq!(placed("prom", "/prom/api?x=1"), Placed::Below("/api?x=1".parse().expect("URI")));
    assert_eq!(placed("/prom/", "/prometheus"), Placed::Elsewhere);
    assert_eq!(placed("/prom", "/prom"), Placed::Root);
    assert_eq!(placed("/prom", "/narthex.v1.Query/Instant"), Placed::Here);
}

/// Sends a head that promises `promised` bytes of a body.
async fn begin(stream: &mut TcpStream, promised: usize, more: &str) {
    let path = access::WRITE.path();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {promised}\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the head is read");
}

/// Reads the head of an answer.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn a_sender_that_reads_last_hears_the_early_answer() {
    let served = serve(WebOptions::default()).await;
    let body = vec![b'x'; 10 << 20];
    let mut stream = TcpStream::connect(served.address).await.expect("connect");
    // The second time on the same connection, which is as good as new.
    for _ in 0..2 {
        begin(&mut stream, body.len(), "").await;
        stream.write_all(&body).await.expect("all of it is read, although nobody wants it");
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 204"));
    }
    drop(stream);
    served.end().await;
}

#[tokio::test]
async fn a_sender_that_waits_for_a_word_keeps_its_body() {
    let served = serve(WebOptions::default()).await;
    let mut stream = TcpStream::connect(served.address).await.expect("connect");
    begin(&mut stream, 10 << 20, "Expect: 100-continue\r\n").await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 204"), "and not 100 Continue");
    served.end().await;
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever() {
    let served = serve(WebOptions::default()).await;
    let mut stream = TcpStream::connect(served.address).await.expect("connect");
    begin(&mut stream, 1 << 40, "").await;
    let (chunk, mut sent) = (vec![b'x'; 1 << 20], 0);
    while stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 128 << 20, "it is still read");
    }
    assert!(sent >= 10 << 20, "{sent}");
    served.end().await;
}
