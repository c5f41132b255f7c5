//! STOW-RS and FHIR against a peer that plays from a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use glaucoma_exchange::dicom::Identity;
use glaucoma_exchange::fhir::{Programme, bundle};
use glaucoma_exchange::outbox::fhir::Fhir;
use glaucoma_exchange::outbox::stow::Stow;
use glaucoma_exchange::outbox::{Deliver, DeliverError, Endpoint, EndpointError};
use serde_json::{Value, json};

use crate::fixture::{PATIENCE, retina_file, station, visit};

struct Request {
    line: String,
    headers: String,
    body: Vec<u8>,
}

/// Answers one request after another with the scripted texts (`STATUS HEADERS` and a body); an empty status
/// closes the line without a word, `hang` says nothing.
fn peer(script: Vec<(&'static str, String)>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (status, body) in script {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = sender.send(read(&socket));
            match status {
                "" => {}
                "hang" => held.push(socket),
                _ => {
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                    );
                    socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
                }
            }
        }
        if !held.is_empty() {
            // As long as the test lives: a line that is let go is no silence.
            std::thread::sleep(PATIENCE);
        }
    });
    (url, requests)
}

fn read(socket: &TcpStream) -> Request {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = String::new();
    while reader.read_line(&mut headers).unwrap() > 2 {}
    let headers = headers.to_ascii_lowercase();
    let length = headers.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Request { line: line.trim().to_owned(), headers, body }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(url, Some("Bearer secret".into()), None, PATIENCE).unwrap()
}

fn stow(status: &'static str, body: Value) -> Result<String, DeliverError> {
    let (url, _requests) = peer(vec![(status, body.to_string())]);
    Stow(endpoint(&url)).deliver(&retina_file().bytes).map(|receipt| receipt.said)
}

/// A STOW-RS answer with the failure reasons.
fn failures(reasons: &[u16]) -> Value {
    let items: Vec<Value> =
        reasons.iter().map(|reason| json!({"00081197": {"vr": "US", "Value": [reason]}})).collect();
    json!({"00081198": {"vr": "SQ", "Value": items}})
}

fn later(reason: &str) -> Result<String, DeliverError> {
    Err(DeliverError::Later { reason: reason.into(), after: None })
}

fn refused(reason: &str) -> Result<String, DeliverError> {
    Err(DeliverError::Refused { reason: reason.into() })
}

#[test]
fn a_stow_request_is_what_the_standard_says() {
    let (url, requests) = peer(vec![("200 OK", failures(&[]).to_string())]);
    let file = retina_file().bytes;
    let receipt = Stow(endpoint(&url)).deliver(&file).unwrap();
    assert_eq!(receipt.said, "HTTP 200", "an empty sequence of failures is a success");
    let request = requests.recv().unwrap();
    assert_eq!(request.line, "POST /base/studies HTTP/1.1");
    assert!(request.headers.contains("authorization: bearer secret"));
    assert!(request.headers.contains("accept: application/dicom+json"));
    let boundary = request.headers.split("boundary=").nth(1).unwrap().lines().next().unwrap();
    assert!(request.headers.contains("multipart/related; type=\"application/dicom\";"));
    let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n");
    let body = request.body.strip_prefix(head.as_bytes()).unwrap();
    let body = body.strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes()).unwrap();
    assert_eq!(body, file);
}

#[test]
fn stow_answers_are_sorted() {
    let ok = |said: &str| Ok(said.to_owned());
    assert_eq!(stow("200 OK", json!({})), ok("HTTP 200"));
    assert_eq!(stow("202 Accepted", failures(&[0xb000])), ok("HTTP 202, failure B000"));
    assert_eq!(stow("409 Conflict", failures(&[0x0111])), ok("HTTP 409, failure 0111"));
    assert_eq!(stow("200 OK", failures(&[0xa700])), later("HTTP 200, failure A700"));
    assert_eq!(stow("202 Accepted", failures(&[0x0110])), later("HTTP 202, failure 0110"));
    assert_eq!(stow("202 Accepted", failures(&[0xc000])), refused("HTTP 202, failure C000"));
    assert_eq!(stow("409 Conflict", failures(&[0x0122])), refused("HTTP 409, failure 0122"));
    assert_eq!(stow("200 OK", json!([failures(&[0xa900])])), refused("HTTP 200, failure A900"));
    assert_eq!(stow("409 Conflict", json!({})), later("HTTP 409 without a reason"));
    let unsaid = json!({"00081198": {"vr": "SQ", "Value": [{}]}});
    assert_eq!(stow("202 Accepted", unsaid), later("HTTP 202, failed without a reason"));
    assert_eq!(stow("415 Unsupported", json!({})), refused("HTTP 415"));
    assert_eq!(stow("400 Bad Request", json!({})), refused("HTTP 400"));
    for (status, said) in [
        ("500 Oh", "HTTP 500"),
        ("401 No", "HTTP 401"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", "HTTP 302"),
    ] {
        assert_eq!(stow(status, json!({})), later(said));
    }
    let wait = Err(DeliverError::Later {
        reason: "HTTP 503".into(),
        after: Some(Duration::from_secs(120)),
    });
    assert_eq!(stow("503 Busy\r\nretry-after: 120", json!({})), wait);
}

#[test]
fn a_broken_line_is_later() {
    assert!(matches!(stow("", json!({})), Err(DeliverError::Later { .. })));
    let (url, _requests) = peer(vec![("hang", String::new())]);
    let hasty = Endpoint::new(&url, None, None, Duration::from_millis(300)).unwrap();
    match Stow(hasty).deliver(b"x") {
        Err(DeliverError::Later { reason, .. }) => {
            assert!(reason.starts_with("no answer in time"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Stow(endpoint(&format!("http://{closed}")));
    assert!(matches!(nobody.deliver(b"x"), Err(DeliverError::Later { .. })));
    // The answer stops in its middle: whether it was stored is not known.
    let (url, _requests) = peer(vec![("200 OK\r\ncontent-length: 900", "{".into())]);
    assert!(matches!(Fhir(endpoint(&url)).deliver(b"{}"), Err(DeliverError::Later { .. })));
}

fn transaction() -> Vec<u8> {
    let programme = Programme {
        person_system: "urn:oid:2.25.5".into(),
        device_system: "urn:oid:2.25.6".into(),
        station: station(),
    };
    serde_json::to_vec(&bundle(&visit(), false, &programme, Identity::Own).unwrap()).unwrap()
}

fn fhir(status: &'static str, body: &Value) -> Result<String, DeliverError> {
    let (url, _requests) = peer(vec![(status, body.to_string())]);
    Fhir(endpoint(&url)).deliver(&transaction()).map(|receipt| receipt.said)
}

#[test]
fn fhir_answers_are_sorted() {
    let sent: Value = serde_json::from_slice(&transaction()).unwrap();
    let entries = sent["entry"].as_array().unwrap().len();
    let response = |status: &str| {
        let entry = vec![json!({"response": {"status": status}}); entries];
        json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entry})
    };
    assert_eq!(fhir("200 OK", &response("201 Created")), Ok("HTTP 200".into()));
    assert_eq!(fhir("200 OK", &response("200")), Ok("HTTP 200".into()));
    assert_eq!(fhir("200 OK", &response("412")), later("an entry of the response is no success"));
    assert_eq!(
        fhir("200 OK", &json!({"type": "transaction-response"})),
        later("the response has another number of entries")
    );
    assert_eq!(
        fhir("200 OK", &json!("Please log in")),
        later("the answer is no transaction's response")
    );
    assert_eq!(fhir("400 Bad", &json!({})), refused("HTTP 400"));
    assert_eq!(fhir("422 No", &json!({})), refused("HTTP 422"));
    assert_eq!(fhir("412 Several", &json!({})), refused("HTTP 412"));
    assert_eq!(fhir("409 Conflict", &json!({})), later("HTTP 409"));
    assert_eq!(fhir("502 Oh", &json!({})), later("HTTP 502"));
}

#[test]
fn an_endpoint_must_be_one() {
    let try_new =
        |url: &str, roots: Option<&[u8]>| Endpoint::new(url, None, roots, PATIENCE).map(|_| ());
    assert!(matches!(try_new("ftp://x", None), Err(EndpointError::Url(_))));
    assert!(matches!(try_new("https://x", Some(b"no pem")), Err(EndpointError::Certificates)));
    assert!(try_new("https://x", None).is_ok());
}
