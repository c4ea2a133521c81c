//! Signed requests for which `object_store` has no words: buckets, uploads, versions.

use bytes::Bytes;
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};

/// An answer's status, and its body as text.
pub type Answer = (u16, String);

/// A request without a signature yet.
pub fn request(method: &str, url: &str, body: &str) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::from(body.to_owned())));
    *request.method_mut() = method.parse().expect("a method");
    *request.uri_mut() = url.parse().expect("a URL");
    request
}

/// Sets a header, before signing.
pub fn set(request: &mut HttpRequest, name: &'static str, value: &str) {
    request.headers_mut().insert(name, value.parse().expect("a header's value"));
}

/// Signs for an S3 server with a key id and a secret, and sends.
pub fn send_s3(mut request: HttpRequest, [id, secret]: [&str; 2]) -> Answer {
    let credential =
        AwsCredential { key_id: id.to_owned(), secret_key: secret.to_owned(), token: None };
    let authorizer = AwsAuthorizer::new(&credential, "s3", "us-east-1");
    authorizer.try_authorize(&mut request, None).expect("it can be signed");
    send(request)
}

/// Sends it as it is.
pub fn send(request: HttpRequest) -> Answer {
    let options = ClientOptions::new().with_allow_http(true);
    let client = ReqwestConnector::default().connect(&options).expect("a client");
    super::seaweed::block_on(async {
        let answer = client.execute(request).await.expect("the server answers");
        let status = answer.status().as_u16();
        let body = answer.into_body().bytes().await.expect("the line holds");
        (status, String::from_utf8_lossy(&body).into_owned())
    })
}

/// The texts of all elements of a name, such as each `UploadId` of a listing.
pub fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let after = xml.split(open.as_str()).skip(1);
    after.filter_map(|rest| rest.split_once(close.as_str()).map(|(text, _)| text)).collect()
}
