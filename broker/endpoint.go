package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds on a connection to a provider.
const (
	maxHeaderBytes     = 64 << 10
	defaultDialTimeout = 3 * time.Second
	defaultIdleTimeout = 60 * time.Second
	defaultMaxResponse = 32 << 20
)

// proxySchemes are those that net/http can use.
var proxySchemes = []string{"http", "https", "socks5", "socks5h"}

// parseBase checks a base URL and returns it without its final "/v1"; local
// says that the host is this one or a private address.
func parseBase(raw string, allowHTTP bool) (base *url.URL, local bool, err error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Hostname() == "":
		return nil, false, fmt.Errorf("base_url %q is not a URL like https://host/", clip(raw, 64))
	case u.User != nil:
		return nil, false, errors.New("base_url holds a user or password; use secret_id")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, false, fmt.Errorf("base_url %q has a query or fragment", clip(u.Host, 64))
	}
	local = localHost(u.Hostname())
	switch u.Scheme {
	case "https":
	case "http":
		if !local && !allowHTTP {
			return nil, false, fmt.Errorf("base_url: plain http to %s would show prompts and keys "+
				"to the network; use https, or allow_http", clip(u.Host, 64))
		}
	default:
		return nil, false, fmt.Errorf("base_url: scheme %q, want https", clip(u.Scheme, 16))
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1")
	u.RawPath = ""
	return u, local, nil
}

// localHost reports whether a host is literally this machine or on a private
// network. Names are not looked up: whoever answers for them could lie.
func localHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsPrivate()
}

// newClient makes an HTTP client that goes where it was told and nowhere
// else: no redirects, no proxy unless configured, bounded headers.
func newClient(cfg ProviderConfig) (*http.Client, error) {
	tr := &http.Transport{
		DialContext:            dialer(cfg.DialTimeout).DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		// Compressed answers buy nothing here and could unpack to anything.
		DisableCompression: true,
	}
	switch cfg.Proxy {
	case "":
	case "env":
		tr.Proxy = http.ProxyFromEnvironment
	default:
		u, err := url.Parse(cfg.Proxy)
		if err != nil || u.Host == "" || !slices.Contains(proxySchemes, u.Scheme) {
			return nil, fmt.Errorf("proxy: want %q or a URL with one of the schemes %q",
				"env", proxySchemes)
		}
		tr.Proxy = http.ProxyURL(u)
	}
	return &http.Client{
		Transport: tr,
		// net/http would carry the body, and headers it does not know to be
		// secret, to wherever a redirect points.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}, nil
}

// dialer bounds a connection attempt, name resolution included.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout: timeout,
		// The C resolver reads "127.1" or "0x7f.1" as loopback; Go's own
		// refuses them.
		Resolver: &net.Resolver{PreferGo: true},
	}
}

// transportError says what a failure below HTTP means: nobody there, a
// certificate nobody should trust, or a connection that broke later.
func transportError(err error, sent bool) *Error {
	text := printable(withoutURL(err).Error(), maxErrText)
	var e *Error
	switch _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); {
	case untrusted:
		e = fault(false, "connection: %s", text)
	case !sent:
		e = unavailable(0, "cannot connect: %s", text)
	default:
		e = fault(true, "connection: %s", text)
	}
	e.Err = err
	return e
}

// withoutURL drops net/http's wrapper, which repeats method and URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
