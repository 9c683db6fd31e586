//! `narthex cluster certs`: a certificate authority for one cluster, and what it signs.
//!
//! `FOLDER/ca.pem` and `FOLDER/ca-key.pem` are the authority; `FOLDER/NAME/` has what one process
//! needs: `ca.pem`, `node.pem`, `node-key.pem`. A second run keeps the authority and signs only
//! what is missing, so that nodes can be added later.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use narthex_cluster::NodeId;
use narthex_proto::connect::server_name;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::{flags::CertsArguments, output::answer};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// Choose a folder that can be written.
    #[error("write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Delete the key, and with it the authority, or bring the right one back.
    #[error("{} is not the key of an authority", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: rcgen::Error,
    },
    #[error("sign a certificate")]
    Sign(#[from] rcgen::Error),
    #[error("print what was made")]
    Print(#[from] io::Error),
}

/// Makes what is missing and says what was made.
pub fn make(arguments: &CertsArguments) -> Result<(), CertsError> {
    let folder = &arguments.folder;
    let parameters = authority_parameters()?;
    let key = authority_key(folder, &parameters)?;
    let authority = Issuer::from_params(&parameters, key);
    for id in 1..=arguments.nodes {
        let names = vec![server_name(Some(NodeId(u64::from(id)))), server_name(None)];
        sign(folder, &format!("node-{id}"), names, &authority)?;
    }
    // Routers and queriers call nodes but are not called.
    sign(folder, "front", vec!["front.narthex".to_owned()], &authority)
}

fn authority_parameters() -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, "Narthex cluster authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

/// The key that is there, or a new one with its certificate.
fn authority_key(folder: &Path, parameters: &CertificateParams) -> Result<KeyPair, CertsError> {
    let path = folder.join("ca-key.pem");
    if let Ok(pem) = fs::read_to_string(&path) {
        return KeyPair::from_pem(&pem).map_err(|source| CertsError::Key { path, source });
    }
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    write(&folder.join("ca.pem"), &certificate.pem(), 0o644)?;
    write(&path, &key.serialize_pem(), 0o600)?;
    answer(&format!(
        "{}  the authority; keep its key off the nodes",
        folder.join("ca.pem").display()
    ))?;
    Ok(key)
}

fn sign(
    folder: &Path,
    name: &str,
    names: Vec<String>,
    authority: &Issuer<'_, KeyPair>,
) -> Result<(), CertsError> {
    let own = folder.join(name);
    if own.join("node.pem").exists() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = parameters.signed_by(&key, authority)?;
    let authority_pem = folder.join("ca.pem");
    let authority_pem = fs::read_to_string(&authority_pem)
        .map_err(|source| CertsError::Write { path: authority_pem, source })?;
    write(&own.join("ca.pem"), &authority_pem, 0o644)?;
    write(&own.join("node-key.pem"), &key.serialize_pem(), 0o600)?;
    // Last: its presence says that the folder is complete.
    write(&own.join("node.pem"), &certificate.pem(), 0o644)?;
    answer(&format!("{}  for --cluster.certs of {name}", own.display()))?;
    Ok(())
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), CertsError> {
    let written = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(mode).open(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|source| CertsError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_run_keeps_the_authority_and_adds_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        make(&CertsArguments { folder: path.clone(), nodes: 1 }).unwrap();
        let authority = fs::read(path.join("ca.pem")).unwrap();
        let first = fs::read(path.join("node-1/node.pem")).unwrap();
        make(&CertsArguments { folder: path.clone(), nodes: 3 }).unwrap();
        assert_eq!(fs::read(path.join("ca.pem")).unwrap(), authority);
        assert_eq!(fs::read(path.join("node-1/node.pem")).unwrap(), first);
        assert_eq!(fs::read(path.join("node-3/ca.pem")).unwrap(), authority);
        let mode = fs::metadata(path.join("node-3/node-key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
