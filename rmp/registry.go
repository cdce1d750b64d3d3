package rmp

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// Ranges in which ids may be registered at run time (spec/01 "Registry").
// Everything else is frozen.
const (
	ExperimentalMin uint16 = 0x0080
	ExperimentalMax uint16 = 0x03FF
	VendorMin       uint16 = 0x1000
)

// maxTypeLen bounds a registered type string, in bytes.
const maxTypeLen = 128

// ErrRegister is returned when an id or type string may not be registered.
var ErrRegister = errors.New("rmp: cannot register schema")

// Registry maps schema ids to type strings. The nil *Registry and the zero
// Registry know the frozen set; [Registry.Register] adds ids of the
// experimental and vendor ranges to one instance. Safe for concurrent use.
type Registry struct {
	mu    sync.Mutex // serialises Register
	extra atomic.Pointer[map[uint16]string]
}

// TypeOf returns the type string of a schema id, and whether the id is known.
// It does not allocate.
func (r *Registry) TypeOf(id uint16) (string, bool) {
	if int(id) < len(frozen) && frozen[id] != "" {
		return frozen[id], true
	}
	if r == nil {
		return "", false
	}
	extra := r.extra.Load()
	if extra == nil {
		return "", false
	}
	typ, ok := (*extra)[id]
	return typ, ok
}

// IDOf returns the schema id of a type string. It searches: do not call it
// for every message.
func (r *Registry) IDOf(typ string) (uint16, bool) {
	if typ == "" {
		return 0, false
	}
	for id, known := range frozen {
		if known == typ {
			return uint16(id), true
		}
	}
	if r == nil || r.extra.Load() == nil {
		return 0, false
	}
	for id, known := range *r.extra.Load() {
		if known == typ {
			return id, true
		}
	}
	return 0, false
}

// Register adds an id of the experimental (0x0080–0x03FF) or vendor
// (0x1000–0xFFFF) range with its type string, which must look like
// "<family>.<kind>.v<N>". An id or a type that is taken is refused with
// [ErrRegister], unless it is the same pair again.
func (r *Registry) Register(id uint16, typ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.TypeOf(id); ok {
		if known == typ {
			return nil
		}
		return fmt.Errorf("%w: id %d is %s already", ErrRegister, id, known)
	}
	if (id < ExperimentalMin || id > ExperimentalMax) && id < VendorMin {
		return fmt.Errorf("%w: id %d is outside the experimental and vendor ranges", ErrRegister, id)
	}
	if err := checkType(typ); err != nil {
		return err
	}
	if other, ok := r.IDOf(typ); ok {
		return fmt.Errorf("%w: type %s belongs to id %d", ErrRegister, typ, other)
	}
	next := map[uint16]string{id: typ}
	if old := r.extra.Load(); old != nil {
		maps.Copy(next, *old)
	}
	r.extra.Store(&next)
	return nil
}

// Family is the part of a type string before its first dot.
func Family(typ string) string {
	family, _, _ := strings.Cut(typ, ".")
	return family
}

// KnownFamily reports whether family is one of the seven of spec/01.
func KnownFamily(family string) bool {
	switch family {
	case "observation", "intent", "artifact", "toolresult", "critique", "statedelta", "error":
		return true
	}
	return false
}

// checkType reports whether typ has the form "<family>.<kind>.v<N>", with a
// kind of one or more lower-case segments.
func checkType(typ string) error {
	parts := strings.Split(typ, ".")
	last := len(parts) - 1
	if len(typ) > maxTypeLen || last < 2 || !KnownFamily(parts[0]) || !isVersion(parts[last]) {
		return fmt.Errorf("%w: type %.128q is not <family>.<kind>.v<N> of a known family",
			ErrRegister, typ)
	}
	for _, kind := range parts[1:last] {
		if !isKind(kind) {
			return fmt.Errorf("%w: type %.128q has a kind that is not lower-case letters, digits or _",
				ErrRegister, typ)
		}
	}
	return nil
}

// isVersion reports whether s is "v" and a number without leading zero.
func isVersion(s string) bool {
	digits, ok := strings.CutPrefix(s, "v")
	return ok && digits != "" && digits[0] != '0' && strings.Trim(digits, "0123456789") == ""
}

// isKind reports whether s is one segment of a kind.
func isKind(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
