package wasm

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// urlMax is the longest URL of http.request, in bytes.
const urlMax = 8 << 10

// target is where a URL leads, as grants speak of it.
type target struct {
	scheme  string // http or https
	host    string // a name in lower case, or an address as netip prints it
	port    uint16
	literal netip.Addr // valid when host is an address
}

// String is the target as audits and denials name it: host:port.
func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// origin tells targets apart between which nothing secret may pass (RFC 6454).
func (t target) origin() string { return t.scheme + "://" + t.String() }

// parseURL reads an absolute http or https URL and says where it leads. It is
// narrower than RFC 3986: what two programs may read in two ways is refused,
// as are user names and all that is not printable ASCII.
func parseURL(raw string) (*url.URL, target, error) {
	if len(raw) > urlMax {
		return nil, target{}, fmt.Errorf("it is over %d bytes", urlMax)
	}
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }); i >= 0 {
		return nil, target{}, fmt.Errorf("byte %d must be percent-encoded", i)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, target{}, fmt.Errorf("it is malformed") // the error repeats all of it
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, target{}, fmt.Errorf("the scheme is not http or https")
	case u.Opaque != "" || u.Host == "":
		return nil, target{}, fmt.Errorf("it names no host")
	case u.User != nil:
		return nil, target{}, fmt.Errorf("it carries a user name")
	}
	t, err := hostAndPort(u.Hostname(), u.Port(), u.Scheme)
	u.Fragment, u.RawFragment = "", ""
	return u, t, err
}

func hostAndPort(host, port, scheme string) (target, error) {
	t := target{scheme: scheme, port: 443}
	if scheme == "http" {
		t.port = 80
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return t, fmt.Errorf("the port is not between 1 and 65535")
		}
		t.port = uint16(n)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return t, fmt.Errorf("the address has a zone")
		}
		t.host, t.literal = addr.String(), addr
		return t, nil
	}
	t.host = strings.ToLower(host)
	return t, checkHostName(t.host)
}

// checkHostName wants a DNS name in the preferred syntax (RFC 1123, 2.1) whose
// last label is no number: what some resolvers take for an address is not a
// name here.
func checkHostName(host string) error {
	if len(host) > 253 {
		return fmt.Errorf("the host name is too long")
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("the host is neither a name nor an address")
		}
	}
	last := labels[len(labels)-1]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("the host is a number, but no address")
	}
	return nil
}

// netGrant is one entry of the capability net.
type netGrant struct {
	host string
	port uint16
}

// parseNetGrant reads host or host:port; without a port it is 443. An IPv6
// address with a port stands in brackets.
func parseNetGrant(s string) (netGrant, error) {
	host, port := s, ""
	if addr, err := netip.ParseAddr(s); err == nil {
		return netGrant{addr.String(), 443}, nil
	}
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1 {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil || port == "" {
			return netGrant{}, fmt.Errorf("net: %q is not host or host:port", s)
		}
	}
	t, err := hostAndPort(host, port, "https")
	if err != nil {
		return netGrant{}, fmt.Errorf("net: %q: %w", s, err)
	}
	return netGrant{t.host, t.port}, nil
}

// mayReach reports whether the capabilities grant a target. An entry that
// cannot be read grants nothing.
func (c *Caps) mayReach(t target) bool {
	if t.scheme != "https" && !c.AllowHTTP {
		return false
	}
	for _, s := range c.Net {
		if g, err := parseNetGrant(s); err == nil && g == (netGrant{t.host, t.port}) {
			return true
		}
	}
	return false
}
