package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"hushgate/internal/wire"
)

// Signature is what a client's SYN tells of its TCP, in the notation of JA4T: window_options_mss_scale, as in
// 64240_2-4-8-1-3_1460_7. The options are their kinds in the order in which they came, padding included. Options, MSS and
// scale that are absent are written 00, as is a scale of 0. Two signatures are equal (==) if their texts are. The zero value
// is the signature of a client whose SYN was not seen, or not kept.
type Signature struct {
	window, mss uint16
	scale       uint8 // as sent, also if it is above wire.MaxScale
	count       uint8 // of kinds
	known       bool
	kinds       [maxKinds]uint8
}

// maxKinds is how many options a TCP header has room for.
const maxKinds = 40

// The kinds of the options that are looked into.
const (
	kindMSS   = 2
	kindScale = 3
)

// SignatureOf returns the signature of a SYN.
func SignatureOf(seg *wire.Segment) Signature {
	s := Signature{window: seg.Wnd, known: true}
	for o, at, ok := seg.OptionAt(0); ok; o, at, ok = seg.OptionAt(at) {
		switch {
		case o.Kind == kindMSS && len(o.Value) == 2:
			s.mss = uint16(o.Value[0])<<8 | uint16(o.Value[1])
		case o.Kind == kindScale && len(o.Value) == 1:
			s.scale = o.Value[0]
		}
		s.kinds[s.count] = o.Kind
		s.count++
	}
	return s
}

// Known reports whether s is the signature of a SYN.
func (s *Signature) Known() bool { return s.known }

// String returns s in the notation of JA4T, and "-" if it is not known.
func (s Signature) String() string { return string(s.Append(nil)) }

// Append appends what String returns.
func (s *Signature) Append(b []byte) []byte {
	if !s.known {
		return append(b, '-')
	}
	b = strconv.AppendUint(b, uint64(s.window), 10)
	b = append(b, '_')
	if s.count == 0 {
		b = append(b, "00"...)
	}
	for i, kind := range s.kinds[:s.count] {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(kind), 10)
	}
	b = appendField(append(b, '_'), uint64(s.mss))
	return appendField(append(b, '_'), uint64(s.scale))
}

func appendField(b []byte, n uint64) []byte {
	if n == 0 {
		return append(b, "00"...)
	}
	return strconv.AppendUint(b, n, 10)
}

// MarshalBinary writes s for another process.
func (s Signature) MarshalBinary() ([]byte, error) { return s.Append(nil), nil }

// UnmarshalBinary reads what MarshalBinary has written.
func (s *Signature) UnmarshalBinary(b []byte) (err error) {
	if *s = (Signature{}); string(b) != "-" {
		*s, err = ParseSignature(string(b))
	}
	return err
}

// ParseSignature reads a signature in the notation of JA4T.
func ParseSignature(text string) (Signature, error) {
	p, err := ParsePattern(text)
	if err == nil && !p.Exact() {
		err = errors.New("* stands for any value, and here one is needed")
	}
	if err != nil {
		return Signature{}, err
	}
	return p.want, nil
}

// Pattern stands for the signatures that have certain values in some of the four fields. It matches no unknown signature.
type Pattern struct {
	want Signature
	any  [patternFields]bool
}

const (
	fieldWindow = iota
	fieldOptions
	fieldMSS
	fieldScale
	patternFields
)

var fieldNames = [patternFields]string{"window", "options", "MSS", "window scale"}

// ParsePattern reads a signature in which each of the four fields may be "*", for any value.
func ParsePattern(text string) (p Pattern, err error) {
	fields := strings.Split(text, "_")
	if len(fields) != patternFields {
		return p, fmt.Errorf("signature %q: expected window_options_mss_scale, as in 64240_2-4-8-1-3_1460_7", text)
	}
	p.want.known = true
	for i, field := range fields {
		if p.any[i] = field == "*"; p.any[i] {
			continue
		}
		if err := p.set(i, field); err != nil {
			return Pattern{}, fmt.Errorf("signature %q: %s: %w", text, fieldNames[i], err)
		}
	}
	return p, nil
}

func (p *Pattern) set(i int, field string) error {
	if i == fieldOptions {
		return p.want.setKinds(field)
	}
	bits := 16
	if i == fieldScale {
		bits = 8
	}
	n, err := number(field, bits)
	if err != nil {
		return err
	}
	switch i {
	case fieldWindow:
		p.want.window = uint16(n)
	case fieldMSS:
		p.want.mss = uint16(n)
	case fieldScale:
		p.want.scale = uint8(n)
	}
	return nil
}

func (s *Signature) setKinds(field string) error {
	if field == "00" {
		return nil
	}
	kinds := strings.Split(field, "-")
	if len(kinds) > maxKinds {
		return fmt.Errorf("%d options: a TCP header has room for %d", len(kinds), maxKinds)
	}
	for i, kind := range kinds {
		n, err := number(kind, 8)
		if err != nil {
			return err
		}
		s.kinds[i] = uint8(n)
	}
	s.count = uint8(len(kinds))
	return nil
}

func number(text string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is no number from 0 to %d", text, uint64(1)<<bits-1)
	}
	return n, nil
}

// Exact reports whether p stands for one signature.
func (p *Pattern) Exact() bool { return p.any == [patternFields]bool{} }

// Matches reports whether p stands for s.
func (p *Pattern) Matches(s *Signature) bool {
	return s.known &&
		(p.any[fieldWindow] || p.want.window == s.window) &&
		(p.any[fieldOptions] || p.want.count == s.count && p.want.kinds == s.kinds) &&
		(p.any[fieldMSS] || p.want.mss == s.mss) &&
		(p.any[fieldScale] || p.want.scale == s.scale)
}

// String returns what ParsePattern reads.
func (p Pattern) String() string {
	fields := strings.Split(p.want.String(), "_")
	for i := range fields {
		if i < patternFields && p.any[i] {
			fields[i] = "*"
		}
	}
	return strings.Join(fields, "_")
}

// MarshalText returns what ParsePattern reads.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
