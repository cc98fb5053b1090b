//! Certificates of authorities.

use std::sync::LazyLock;

use crate::slots::MESHES;

fn certificate(name: &str) -> String {
    rcgen::generate_simple_self_signed([name.to_owned()]).expect("a name and a fresh key").cert.pem()
}

/// How many authorities a mesh may have had.
pub const OWN: usize = 3;

static AUTHORITIES: LazyLock<Vec<[String; OWN]>> = LazyLock::new(|| {
    let of = |mesh: &&str| std::array::from_fn(|number| certificate(&format!("root-{number}.{mesh}")));
    MESHES.iter().map(of).collect()
});

static SHARED: LazyLock<String> = LazyLock::new(|| certificate("root.shared"));

/// The certificate of one of the authorities of a mesh, PEM.
pub fn own(mesh: usize, number: usize) -> &'static str {
    &AUTHORITIES[mesh][number]
}

/// The certificate of an authority that several meshes use on purpose, PEM.
pub fn shared() -> &'static str {
    &SHARED
}

/// A line of a certificate that no other certificate has.
pub fn line(pem: &str) -> &str {
    pem.lines().nth(4).expect("a certificate has more lines")
}
