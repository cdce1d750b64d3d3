package wasm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Network is how http.request reaches the world. The zero value is Go's own
// resolver and the machine's certificates.
type Network struct {
	// Lookup resolves a host name; nil asks Go's own resolver. Whatever it
	// answers is checked, and what was checked is connected to.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Roots are the authorities whose certificates count; nil means those of
	// the machine.
	Roots *x509.CertPool
}

// Bounds of one connection.
const (
	connectTimeout    = 10 * time.Second
	tlsTimeout        = 10 * time.Second
	responseHeaderMax = 64 << 10 // bytes
)

// resolver is Go's: the C library takes 127.1, 0x7f.1 and 2130706433 for
// loopback, and reads its options out of the environment.
var resolver = &net.Resolver{PreferGo: true}

// addresses are those of a target that may be connected to. One that may not
// makes all of them suspect: a name that leads here and there is an attack or
// a mistake.
func (n *Network) addresses(ctx context.Context, t target) (addrs []netip.Addr, closed string, err error) {
	if t.literal.IsValid() {
		return []netip.Addr{t.literal}, "", nil // granted as it stands
	}
	lookup := n.Lookup
	if lookup == nil {
		lookup = lookupName
	}
	found, err := lookup(ctx, t.host)
	if err != nil || len(found) == 0 {
		return nil, "", errorf(CodeDNS, "http.request: %s has no address", t.host)
	}
	for _, a := range found {
		if why := closedAddress(a); why != "" {
			return nil, why, nil
		}
	}
	return found, "", nil
}

// lookupName asks Go's resolver. The dot keeps it from trying search domains.
func lookupName(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := resolver.LookupNetIP(ctx, "ip", host+".")
	for i, a := range addrs {
		addrs[i] = a.Unmap() // it gives A records as IPv6
	}
	return addrs, err
}

// transport connects to addrs and to nothing else, whatever the request says:
// between the check and the connection no name is looked up again. No proxy of
// the environment takes part, and no connection is kept.
func (n *Network) transport(t target, addrs []netip.Addr) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var errs []error
		for _, a := range addrs {
			conn, err := dialer.DialContext(ctx, network, netip.AddrPortFrom(a, t.port).String())
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, &dialError{errors.Join(errs...)}
	}
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: n.Roots, MinVersion: tls.VersionTLS12, ServerName: t.host},
		TLSHandshakeTimeout:    tlsTimeout,
		MaxResponseHeaderBytes: responseHeaderMax,
		DisableKeepAlives:      true,
	}
}

// dialError is a connection that was not made: nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }
