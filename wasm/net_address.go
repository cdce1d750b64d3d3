package wasm

import (
	"net"
	"net/netip"
	"strings"
	"sync"
)

// addressRange is a range of addresses with the word that an audit has for it.
type addressRange struct {
	prefix netip.Prefix
	name   string
}

// closedRanges are the addresses that no name may lead to: those of this
// machine and of private networks, and those whose last 32 bits are the
// address of somebody else (IANA special-purpose registries, RFC 6890). The
// longest prefix is not sought: the first that fits gives the name.
var closedRanges = sync.OnceValue(func() []addressRange {
	var out []addressRange
	for _, r := range []struct{ name, prefixes string }{
		{"unspecified", "0.0.0.0/8 ::/128"},
		{"loopback", "127.0.0.0/8 ::1/128"},
		{"private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10"},
		{"link-local", "169.254.0.0/16 fe80::/10"},
		{"multicast", "224.0.0.0/4 ff00::/8"},
		{"reserved", "192.0.0.0/24 192.88.99.0/24 198.18.0.0/15 240.0.0.0/4 100::/64 5f00::/16"},
		{"documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20"},
		{"IPv4 in IPv6", "::ffff:0:0/96 ::/96 64:ff9b::/96 64:ff9b:1::/48 2002::/16 2001::/23"},
	} {
		for _, p := range strings.Fields(r.prefixes) {
			out = append(out, addressRange{netip.MustParsePrefix(p), r.name})
		}
	}
	return out
})

// globalIPv6 is all of IPv6 that is given out for use on the internet (RFC 4291).
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// closedAddress says why no name may lead to an address, or "" if one may.
func closedAddress(a netip.Addr) string {
	if !a.IsValid() || a.Zone() != "" {
		return "link-local"
	}
	for _, r := range closedRanges() {
		if r.prefix.Addr().Is4() == a.Is4() && prefixHolds(r.prefix, a) {
			return r.name
		}
	}
	if a.Is6() && !globalIPv6.Contains(a) {
		return "reserved"
	}
	if isOwnAddress(a) {
		return "this machine's own"
	}
	return ""
}

// prefixHolds is Contains, also for IPv4 addresses that are mapped into IPv6:
// netip never finds those in a prefix.
func prefixHolds(p netip.Prefix, a netip.Addr) bool {
	if a.Is4In6() {
		p16, a16 := p.Addr().As16(), a.As16()
		bits := p.Bits()
		for i := 0; bits > 0; i, bits = i+1, bits-8 {
			mask := byte(0xff)
			if bits < 8 {
				mask <<= 8 - bits
			}
			if p16[i]&mask != a16[i]&mask {
				return false
			}
		}
		return true
	}
	return p.Contains(a)
}

// isOwnAddress reports whether an interface of this machine has the address:
// what listens there may count on nobody but its own coming that way.
func isOwnAddress(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false // then there is none that could be known
	}
	for _, own := range addrs {
		if n, ok := own.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a {
				return true
			}
		}
	}
	return false
}
