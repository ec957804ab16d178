//! TLS over a non-blocking socket, which then reads and writes like one without.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore};

/// What the server's certificate must be for, wherever the server is.
pub const SERVER_NAME: &str = "localhost";
const ALPN_HTTP2: &[u8] = b"h2";
const NOT_HTTP2: &str = "TLS: the server does not choose HTTP/2 (h2, by ALPN)";
/// What is read from a socket at once; much less than the buffer that takes what it decrypts to.
const READ_BYTES: usize = 64 << 10;

/// The settings of connections to a server whose certificate leads to one of those in `file`, which
/// is PEM. The error is for the user.
pub fn trusting(file: &Path) -> Result<Arc<ClientConfig>, String> {
    let name = file.display();
    let pem = fs::read(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    let roots = roots(&pem).map_err(|reason| format!("{name} {reason}"))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    // All handshakes shall cost the server the same, the first ones and those of a reconnection.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that is no root: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate in PEM".into());
    }
    Ok(roots)
}

/// A socket with TLS over it. The handshake is made along the way: a read that brings none of the
/// server's data says `WouldBlock`, as one that finds nothing does, and what is written before the
/// end of the handshake waits for it.
pub struct SecureSocket {
    socket: BufReader<TcpStream>,
    tls: ClientConnection,
}

impl SecureSocket {
    /// TLS over `socket`, which does not block.
    pub fn new(socket: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Self {
            socket: BufReader::with_capacity(READ_BYTES, socket),
            tls,
        })
    }

    /// The socket itself, to be watched.
    pub fn tcp(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Decrypt some of what has been read from the socket into `buffer`: how many bytes that gave. None
    /// when the server has closed the connection before that.
    fn decrypt(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let is_handshaking = self.tls.is_handshaking();
        self.tls.read_tls(&mut self.socket)?;
        let state = match self.tls.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // Tell the server, if it still listens: the alert is all that is left to be written.
                let _ = self.flush();
                return Err(io::Error::other(reason(&error)));
            }
        };
        if is_handshaking
            && !self.tls.is_handshaking()
            && self.tls.alpn_protocol() != Some(ALPN_HTTP2)
        {
            return Err(io::Error::other(NOT_HTTP2));
        }
        let count = state.plaintext_bytes_to_read();
        if count == 0 && state.peer_has_closed() {
            return Ok(None);
        }
        self.tls.reader().read_exact(&mut buffer[..count])?;
        Ok(Some(count))
    }
}

impl Read for SecureSocket {
    /// Everything that one read of the socket brings, since the poller wakes nobody for what has been
    /// read from it: `buffer` must have room for it, and for the record that it completes.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.socket.fill_buf()?.is_empty() {
            return Ok(0);
        }
        let mut filled = 0;
        while !self.socket.buffer().is_empty() {
            match self.decrypt(&mut buffer[filled..])? {
                Some(count) => filled += count,
                None => return Ok(filled),
            }
        }
        if filled == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(filled)
    }
}

impl Write for SecureSocket {
    /// Encrypt the first of `data`, when the socket has taken what was encrypted before.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.flush()?;
        self.tls.writer().write(data)
    }

    /// Have the socket take all that is encrypted; `WouldBlock` if it does not.
    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(self.socket.get_mut()) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Why TLS cannot go on, for the user.
fn reason(error: &Error) -> String {
    match error {
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => NOT_HTTP2.into(),
        Error::InvalidCertificate(_) => format!(
            "TLS: {error} (the server's certificate must be for {SERVER_NAME}, and signed by one in \
             the file of --tls-ca)"
        ),
        _ => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let refusal = trusting(Path::new("/nowhere/ca.pem")).unwrap_err();

        assert!(refusal.contains("cannot read /nowhere/ca.pem"), "{refusal}");
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        let refusal = |body: &str| {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
            roots(pem.as_bytes()).unwrap_err()
        };

        assert_eq!(roots(b"text").unwrap_err(), "holds no certificate in PEM");
        assert!(refusal("!").starts_with("is not PEM"));
        assert!(refusal("AAAA").starts_with("holds a certificate that is no root"));
    }

    #[test]
    fn reasons_say_what_is_wanted_of_the_server() {
        let alert = |alert| reason(&Error::AlertReceived(alert));

        assert_eq!(alert(AlertDescription::NoApplicationProtocol), NOT_HTTP2);
        assert!(alert(AlertDescription::CertificateRequired).contains("CertificateRequired"));
        assert!(reason(&CertificateError::UnknownIssuer.into()).contains("must be for localhost"));
    }
}
