//! Opens the RPC port, and works out under which address others find it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use sluice_spi::{Error, Result, SqlState};
use url::Url;

use crate::RpcConfig;

/// An address of a documentation network: asking for the route to it sends nothing.
const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Opens the RPC port. An address that is not loopback is refused without a secret, since whoever
/// reaches the port can run any plan.
pub fn bind(config: &RpcConfig) -> Result<TcpListener> {
    let addresses: Vec<SocketAddr> = config
        .listen
        .to_socket_addrs()
        .map_err(|e| {
            config_error(format!(
                "rpc.listen: \"{}\" is not an address: {e}",
                config.listen
            ))
        })?
        .collect();
    let open = addresses.iter().find(|address| !address.ip().is_loopback());
    if let (Some(address), None) = (open, &config.secret) {
        return Err(config_error(format!(
            "rpc.listen: {address} is not loopback, and rpc.secret is not set"
        ))
        .with_hint(
            "Set the same rpc.secret in every process of the fleet, or listen on 127.0.0.1.",
        ));
    }
    if config
        .secret
        .as_ref()
        .is_some_and(|secret| secret.expose().is_empty())
    {
        return Err(config_error("rpc.secret is empty".to_owned()));
    }
    TcpListener::bind(addresses.as_slice()).map_err(|e| {
        Error::new(
            SqlState::IO_ERROR,
            format!("could not listen on {} (rpc.listen): {e}", config.listen),
        )
    })
}

/// The URL under which other processes reach a listener opened by [`bind`].
pub fn advertised_url(config: &RpcConfig, local: SocketAddr) -> Result<Url> {
    let host_port = match &config.advertise {
        Some(advertise) => advertise.clone(),
        None if local.ip().is_unspecified() => {
            SocketAddr::new(default_route_address().unwrap_or(local.ip()), local.port()).to_string()
        }
        None => local.to_string(),
    };
    Url::parse(&format!("http://{host_port}")).map_err(|e| {
        config_error(format!(
            "rpc.advertise: \"{host_port}\" is not HOST:PORT: {e}"
        ))
    })
}

fn default_route_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ANYWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn config_error(message: String) -> Error {
    Error::new(SqlState::CONFIG_FILE_ERROR, message)
}

#[cfg(test)]
mod tests {
    use sluice_spi::Secret;

    use super::*;

    #[test]
    fn an_open_port_needs_a_secret() {
        let open = RpcConfig {
            listen: "0.0.0.0:0".to_owned(),
            ..Default::default()
        };
        let error = bind(&open).unwrap_err();
        assert!(error.message.contains("rpc.secret is not set"), "{error}");
        let guarded = RpcConfig {
            secret: Some(Secret::new("s".to_owned())),
            ..open
        };
        let listener = bind(&guarded).unwrap();
        let url = advertised_url(&guarded, listener.local_addr().unwrap()).unwrap();
        assert_eq!(url.port(), Some(listener.local_addr().unwrap().port()));
    }

    #[test]
    fn an_advertised_address_wins() {
        let config = RpcConfig {
            advertise: Some("worker-1:9480".to_owned()),
            ..Default::default()
        };
        let url = advertised_url(&config, ([0, 0, 0, 0], 1).into()).unwrap();
        assert_eq!(url.as_str(), "http://worker-1:9480/");
    }
}
