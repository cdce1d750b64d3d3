package wasm

import "strings"

// Value and reference types (core spec, 5.3).
const (
	typeI32, typeI64 = 0x7f, 0x7e
	typeF32, typeF64 = 0x7d, 0x7c
	typeV128         = 0x7b
	typeFuncref      = 0x70
	typeExternref    = 0x6f
)

// scanSpan is a part of the module.
type scanSpan struct{ at, n int }

// scanType is a function type as it lies in the module: a byte a value.
type scanType struct{ params, results scanSpan }

// typeSection reads the function types.
func (s *scanner) typeSection() {
	// A tag and two empty vectors.
	n := s.count("types", s.limits.Types, 3)
	for i := 0; i < n && s.err == nil; i++ {
		switch tag := s.byte(); tag {
		case 0x60:
		case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
			s.feature("a type of the garbage collection proposal")
		default:
			s.malformed("type %d starts with %#x", i, tag)
		}
		t := scanType{
			params:  s.valueTypes("parameters", s.limits.Params),
			results: s.valueTypes("results", s.limits.Results),
		}
		s.types = append(s.types, t)
		s.tell(s.pos)
		s.spend((t.params.n + t.results.n) * 6 / 10)
	}
}

// valueTypes reads a vector of value types.
func (s *scanner) valueTypes(what string, limit int) scanSpan {
	n := s.count(what, limit, 1)
	at := s.pos
	for range n {
		s.valueType()
	}
	return scanSpan{at, n}
}

// valueType reads the type of a parameter, result, local or global.
func (s *scanReader) valueType() {
	switch t := s.byte(); t {
	case typeI32, typeI64, typeF32, typeF64, typeV128, typeFuncref, typeExternref:
	default:
		s.unknownType(t)
	}
}

// refType reads the type of a table's or an element segment's items.
func (s *scanReader) refType() byte {
	t := s.byte()
	if t != typeFuncref && t != typeExternref {
		s.unknownType(t)
	}
	return t
}

// unknownType tells types of later proposals from nonsense. The compiler takes
// some of them even while their proposal is off.
func (s *scanReader) unknownType(t byte) {
	switch {
	case t >= 0x63 && t <= 0x74, t == 0x40:
		s.feature("a type of a later proposal")
	default:
		s.malformed("unknown type %#x", t)
	}
}

// feature refuses a module that needs something switched off here.
func (r *scanReader) feature(name string) {
	r.failAt(r.pos, CodeFeature, "%s is not available", name)
}

// funcType copies a function type out of the module.
func (s *scanner) funcType(index uint32) FuncType {
	if int(index) >= len(s.types) {
		return FuncType{}
	}
	t := s.types[index]
	return FuncType{
		Params:  string(s.data[t.params.at : t.params.at+t.params.n]),
		Results: string(s.data[t.results.at : t.results.at+t.results.n]),
	}
}

// valueTypeNames renders a list of value types.
func valueTypeNames(types string) string {
	names := map[byte]string{
		typeI32: "i32", typeI64: "i64", typeF32: "f32", typeF64: "f64",
		typeV128: "v128", typeFuncref: "funcref", typeExternref: "externref",
	}
	const most = 20
	var b strings.Builder
	for i := range len(types) {
		if i == most {
			b.WriteString(" ...")
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(names[types[i]])
	}
	return b.String()
}
