//! The contract of a bucket, kept by each kind of store beside a folder and a plain SeaweedFS.

use std::collections::BTreeMap;

use dockseal::clip::Evidence;
use dockseal::edge::bucket::{Bucket, Created};

use crate::contract::{CreateOnly, keeps_as_honoured, keeps_small_as_honoured};
use crate::contract::{keeps_the_contract, keeps_the_small_contract};
use crate::support::azurite::{AzureLogin, Azurite, container_sas};
use crate::support::juicefs::Juicefs;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::signed::{request, send, set};
use crate::support::tools::needs;

fn open(url: &str, options: &BTreeMap<String, String>) -> Bucket {
    Bucket::open(url, options).unwrap()
}

#[test]
fn a_bucket_that_keeps_every_version_keeps_the_contract_for_one_who_may_only_put() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let [admin, dock] = [Login::Admin, Login::Dock].map(|login| server.options(login));
    let url = server.locked_url("contract");
    let reader = open(&url, &admin);
    keeps_the_contract(&open(&url, &dock), &reader, Evidence::DigestChecked);
    // Nothing was put twice: a version that is there stays for as long as the retention says.
    let versions = server.versions(&url);
    assert_eq!(versions, server.keys(&url));
    let url = server.locked_url("small");
    keeps_the_small_contract(&open(&url, &dock), &open(&url, &admin), Created::Unseen);
    assert!(server.uploads(&url).is_empty());
}

#[test]
fn a_store_that_ignores_conditions_keeps_the_rest_of_the_contract() {
    needs!(Juicefs, Setpriv);
    let gateway = Juicefs::shared();
    let bucket = open(&gateway.url("contract"), &gateway.options());
    keeps_as_honoured(&bucket, &bucket, Evidence::DigestChecked, CreateOnly::Ignored);
    let bucket = open(&gateway.url("small"), &gateway.options());
    keeps_small_as_honoured(&bucket, &bucket, Created::Equal, CreateOnly::Ignored);
}

#[test]
fn a_server_with_a_certificate_of_its_own_authority_keeps_the_contract() {
    needs!(Weed, Setpriv, Openssl);
    let server = Seaweed::shared();
    let (endpoint, ca) = server.tls();
    let mut options = server.options(Login::Admin);
    options.insert("aws_endpoint".into(), endpoint);
    options.insert("ca_file".into(), ca.to_str().unwrap().into());
    let bucket = open(&server.url("tls"), &options);
    keeps_the_contract(&bucket, &bucket, Evidence::DigestChecked);
    let bucket = open(&server.url("tls-small"), &options);
    keeps_the_small_contract(&bucket, &bucket, Created::Equal);
}

#[test]
fn azure_keeps_the_contract() {
    needs!(Azurite, Setpriv);
    let azurite = Azurite::shared();
    let options = azurite.options(AzureLogin::AccountKey);
    let bucket = open(&azurite.url("contract"), &options);
    // The account's key signs Content-MD5 too, so that it cannot be added behind object_store.
    keeps_the_contract(&bucket, &bucket, Evidence::ReadBack);
    let bucket = open(&azurite.url("small"), &options);
    keeps_the_small_contract(&bucket, &bucket, Created::Equal);
}

#[test]
fn azure_keeps_the_contract_for_one_who_may_only_put() {
    needs!(Azurite, Setpriv);
    let azurite = Azurite::shared();
    let [writer, reader] =
        [AzureLogin::PutOnly, AzureLogin::AccountKey].map(|login| azurite.options(login));
    let url = azurite.url("put-only");
    keeps_the_contract(&open(&url, &writer), &open(&url, &reader), Evidence::DigestChecked);
    let url = azurite.url("put-only-small");
    keeps_the_small_contract(&open(&url, &writer), &open(&url, &reader), Created::Unseen);
}

/// What a receipt of Azure rests on: with `Content-MD5` a request is refused where the bytes are
/// others, for an object in one request and for a block.
#[test]
fn azure_refuses_bytes_that_do_not_have_their_digest() {
    needs!(Azurite, Setpriv);
    let azurite = Azurite::shared();
    let blob = format!("{}/evidence/digest?{}", azurite.endpoint(), container_sas("cw"));
    let block = format!("{blob}&comp=block&blockid=AAAA");
    // MD5 of "clip", and of nothing.
    let [right, wrong] = ["9ti4hjNZJ9RvrTI8YDNdCQ==", "1B2M2Y8AsgTpgAmY7PhCfg=="];
    for url in [blob, block] {
        for (md5, expected) in [(right, 201), (wrong, 400)] {
            let mut put = request("PUT", &url, "clip");
            set(&mut put, "content-md5", md5);
            set(&mut put, "content-length", "4");
            set(&mut put, "x-ms-blob-type", "BlockBlob");
            let (status, body) = send(put);
            assert_eq!(status, expected, "{md5}: {body}");
        }
    }
}
