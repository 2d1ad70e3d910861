//! The addresses of a name.
//!
//! Numbers are read here. Names are the system resolver's, which may take long and cannot be interrupted: a
//! fiber of its own waits for it, and whoever asked may leave before.

use std::{
    ffi::{CStr, CString},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
    sync::Arc,
};

use super::{Address, Family};
use crate::native::{
    current,
    errno::{Errno, Result},
    io,
    plain::KeepErrno,
    spawn::{self, Placement},
    sync::Channel,
};

/// What is asked: a service of a host, or of no host: of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) host: Option<&'a CStr>,
    pub(super) service: &'a CStr,
    pub(super) kind: i32,
    pub(super) family: Family,
    /// To bind to, not to connect to.
    pub(super) passive: bool,
}

impl Question<'_> {
    /// The addresses, the best one first; at least one.
    pub(super) fn answer(self) -> Result<Vec<Address>> {
        match self.read_numbers() {
            Some(addresses) => Ok(addresses),
            None if current::fiber().is_none() => self.ask(),
            None => self.have_asked(),
        }
    }

    /// The answer where the question consists of numbers.
    fn read_numbers(self) -> Option<Vec<Address>> {
        let service = self.service.to_str().ok()?;
        let port = if service.starts_with('+') { None } else { service.parse().ok() }?;
        let hosts = match (self.host, self.passive) {
            (Some(host), _) => vec![host.to_str().ok()?.parse().ok()?],
            (None, true) => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            (None, false) => vec![IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)],
        };
        let wanted = |host: &IpAddr| match self.family {
            Family::Any => true,
            Family::V4 => host.is_ipv4(),
            Family::V6 => host.is_ipv6(),
        };
        let addresses: Vec<Address> =
            hosts.into_iter().filter(wanted).map(|host| Address::of(host, port)).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    /// Has another fiber ask, and waits for it.
    fn have_asked(self) -> Result<Vec<Address>> {
        let answers = Arc::new(Channel::bounded(1));
        let ear = answers.clone();
        let (host, service) = (self.host.map(CString::from), CString::from(self.service));
        let Question { kind, family, passive, .. } = self;
        let asker = move || {
            let question =
                Question { host: host.as_deref(), service: service.as_c_str(), kind, family, passive };
            let answer = io::offload(|| question.ask()).and_then(|answer| answer);
            // Nobody may be listening any more.
            let _ = ear.try_send(answer);
        };
        spawn::spawn_raw_placed(asker, true, Placement::PINNED)?;
        answers.recv()?
    }

    /// Asks the system's resolver, on this thread.
    fn ask(self) -> Result<Vec<Address>> {
        let _keep = KeepErrno::new();
        // SAFETY: hints of zeros are none.
        let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
        (hints.ai_family, hints.ai_socktype) = (self.family.number(), self.kind);
        hints.ai_flags = if self.passive { libc::AI_PASSIVE } else { 0 };
        let host = self.host.map_or(ptr::null(), CStr::as_ptr);
        let mut found = ptr::null_mut();
        // SAFETY: both names end with a zero byte, or one is null; the hints and the answer are ours.
        let failed = unsafe { libc::getaddrinfo(host, self.service.as_ptr(), &hints, &mut found) };
        if failed != 0 {
            return Err(why(failed));
        }
        let mut addresses = Vec::new();
        let mut next = found;
        // SAFETY: a list that ends with null, each with an address as long as it says, ours until it is freed.
        while let Some(info) = unsafe { next.as_ref() } {
            // SAFETY: as above.
            addresses.extend(unsafe { Address::copied(info.ai_addr, info.ai_addrlen) });
            next = info.ai_next;
        }
        // SAFETY: it came from getaddrinfo, and is freed once.
        unsafe { libc::freeaddrinfo(found) };
        if addresses.is_empty() { Err(Errno::NO_HOST) } else { Ok(addresses) }
    }
}

impl Address {
    pub(super) fn of(host: IpAddr, port: u16) -> Self {
        // SAFETY: plain data.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let at = &raw mut storage;
        let len = match host {
            IpAddr::V4(host) => {
                let sin_addr = libc::in_addr { s_addr: u32::from(host).to_be() };
                let sin_family = libc::AF_INET as libc::sa_family_t;
                let address =
                    libc::sockaddr_in { sin_family, sin_port: port.to_be(), sin_addr, sin_zero: [0; 8] };
                // SAFETY: the storage has room for an address of any family.
                unsafe { at.cast::<libc::sockaddr_in>().write(address) };
                size_of_val(&address)
            }
            IpAddr::V6(host) => {
                let address = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: port.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: host.octets() },
                    sin6_scope_id: 0,
                };
                // SAFETY: as above.
                unsafe { at.cast::<libc::sockaddr_in6>().write(address) };
                size_of_val(&address)
            }
        };
        Address { storage, len: len as libc::socklen_t }
    }

    /// A copy of an address; nothing where it is too long to be one.
    ///
    /// # Safety
    /// So many bytes can be read there.
    unsafe fn copied(address: *const libc::sockaddr, len: libc::socklen_t) -> Option<Self> {
        // SAFETY: plain data.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        if address.is_null() || len as usize > size_of_val(&storage) {
            return None;
        }
        // SAFETY: by the caller; and there is as much room.
        unsafe { ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut storage).cast(), len as usize) };
        Some(Address { storage, len })
    }
}

/// What the resolver's own numbers mean.
fn why(failed: i32) -> Errno {
    match failed {
        libc::EAI_AGAIN => Errno::NO_ANSWER,
        libc::EAI_MEMORY => Errno::new(libc::ENOMEM),
        libc::EAI_SYSTEM => {
            let error = std::io::Error::last_os_error();
            Errno::new(error.raw_os_error().unwrap_or(libc::EIO))
        }
        libc::EAI_FAMILY => Errno::new(libc::EAFNOSUPPORT),
        // The name, or the service, or an address of that family is not known.
        _ => Errno::NO_HOST,
    }
}
