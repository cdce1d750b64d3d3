package wasm

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io/fs"
	"path"
	"strings"
)

// SignatureFile, in a bundle's folder, holds the signature over the bytes of
// its manifest (spec/03 "Bundle").
const SignatureFile = "SIGNATURES/manifest.sig"

// signatureMax is the most a signature file may hold, in bytes.
const signatureMax = 1 << 10

// Prefixes of keys as text; the rest is standard base64.
const (
	publicPrefix = "ed25519:"
	secretPrefix = "ed25519-secret:"
)

// PublicKey is an Ed25519 public key (RFC 8032) as text: "ed25519:" and base64.
// Two texts are equal exactly if the keys are.
type PublicKey string

// ParsePublicKey reads a public key and refuses every other spelling of it.
func ParsePublicKey(s string) (PublicKey, error) {
	if _, err := decodeKey(s, publicPrefix, ed25519.PublicKeySize); err != nil {
		return "", errorf(CodeInvalid, "not a public key (ed25519:… with %d bytes of base64)", ed25519.PublicKeySize)
	}
	return PublicKey(s), nil
}

// raw are the bytes of a key that was parsed.
func (k PublicKey) raw() ed25519.PublicKey {
	b, err := decodeKey(string(k), publicPrefix, ed25519.PublicKeySize)
	if err != nil {
		return make(ed25519.PublicKey, ed25519.PublicKeySize) // verifies nothing that anybody signs
	}
	return b
}

// SigningKey is the secret half of a key pair.
type SigningKey struct{ key ed25519.PrivateKey }

// NewSigningKey makes a key pair from the system's random source.
func NewSigningKey() (*SigningKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, errorf(CodeHost, "making a key: %v", err)
	}
	return &SigningKey{key}, nil
}

// ParseSigningKey reads what [SigningKey.Text] gave.
func ParseSigningKey(text string) (*SigningKey, error) {
	seed, err := decodeKey(strings.TrimSuffix(text, "\n"), secretPrefix, ed25519.SeedSize)
	if err != nil {
		return nil, errorf(CodeInvalid, "not a signing key as rlp agent keygen makes it")
	}
	return &SigningKey{ed25519.NewKeyFromSeed(seed)}, nil
}

// Text is the key as one line for a file that nobody else may read.
func (k *SigningKey) Text() string {
	return secretPrefix + base64.StdEncoding.EncodeToString(k.key.Seed()) + "\n"
}

// Public is the key that others check signatures with.
func (k *SigningKey) Public() PublicKey {
	public := k.key.Public().(ed25519.PublicKey)
	return PublicKey(publicPrefix + base64.StdEncoding.EncodeToString(public))
}

// SignManifest is the content of [SignatureFile] for a manifest. It refuses a
// manifest that leaves a file of the bundle without a digest, since the
// signature would not cover it.
func SignManifest(name string, manifest []byte, k *SigningKey) ([]byte, error) {
	m, err := ParseManifest(name, manifest)
	if err != nil {
		return nil, err
	}
	if err := m.needDigests(); err != nil {
		return nil, errorf(CodeSignature, "%s: %v", name, err)
	}
	sig := ed25519.Sign(k.key, manifest)
	return []byte(string(k.Public()) + " " + base64.StdEncoding.EncodeToString(sig) + "\n"), nil
}

// decodeKey reads prefix and base64 of n bytes, in the one form that encodes
// back to the same text.
func decodeKey(s, prefix string, n int) ([]byte, error) {
	text, ok := strings.CutPrefix(s, prefix)
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(b) != n || base64.StdEncoding.EncodeToString(b) != text {
		return nil, errors.New("malformed")
	}
	return b, nil
}

// verifySignature reads a signature file, the key and the signature on one
// line, and returns the key that signed the manifest. Whether anybody trusts
// that key is for the [Policy] to say.
func verifySignature(manifest, file []byte) (PublicKey, error) {
	line, ok := bytes.CutSuffix(file, []byte("\n"))
	key, sig, two := strings.Cut(string(line), " ")
	if !ok || !two {
		return "", errors.New("it is not one line with a key and a signature")
	}
	public, err := ParsePublicKey(key)
	if err != nil {
		return "", errors.New("it names no key")
	}
	raw, err := decodeKey(sig, "", ed25519.SignatureSize)
	if err != nil {
		return "", errors.New("it holds no signature")
	}
	if !ed25519.Verify(public.raw(), manifest, raw) {
		return "", errors.New("the signature is not one of these bytes by that key")
	}
	return public, nil
}

// readSignature sets who signed the bundle, if anybody did. A signature that
// does not fit is an error even where nobody asks for one.
func (b *Bundle) readSignature(fsys fs.FS, dir string, manifest []byte) error {
	name := path.Join(dir, SignatureFile)
	if _, err := fs.Stat(fsys, name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	src, err := readBundleFile(fsys, name, signatureMax)
	if err != nil {
		return err
	}
	if b.Signer, err = verifySignature(manifest, src); err != nil {
		return errorf(CodeSignature, "%s does not fit %s: %v", name, ManifestFile, err)
	}
	if err := b.Manifest.needDigests(); err != nil {
		return errorf(CodeSignature, "%s is signed, but %v", path.Join(dir, ManifestFile), err)
	}
	return nil
}

// needDigests checks that the manifest has the digest of every file that says
// what the agent does, so that a signature over it covers them.
func (m *Manifest) needDigests() error {
	if m.Caps.Blake3 == "" {
		return errors.New("caps.blake3 is missing: the signature would not cover the capabilities")
	}
	for _, ref := range m.schemaRefs() {
		if ref.Blake3 == "" {
			return errors.New("the port schema " + ref.Path + " has no blake3: the signature would not cover it")
		}
	}
	return nil
}
