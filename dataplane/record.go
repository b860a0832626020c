package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A FlowState is transferred as a record: one octet that says which parts it has beside the flow's, and the fields in the
// order of a schema, each of 1, 2, 4 or 8 octets, big-endian, or a text. The schema is sent before the records. So a reader of
// another release can check, before it reads a record, whether it knows all fields and finds those that it needs.
//
// There is one form of record with one part more for a Reader on another machine: names beside ids, durations beside
// instants. See PortableState.

// RecordField is a field of a schema.
type RecordField struct {
	Name  string   `json:"name"`
	Size  int      `json:"size"`            // octets; 0 is a text: two octets that say how many follow
	Part  string   `json:"part"`            // "flow", "portable", "talk", "mask", or "server": only for flows that look for, or have, a server
	Names []string `json:"names,omitempty"` // names of the values 0, 1, ...
}

// The parts of a record.
const (
	flowPart   = "flow"
	serverPart = "server"
	talkPart   = "talk"
	maskPart   = "mask"
	portable   = "portable"
)

// Reader says for whom a connection is written down.
type Reader uint8

// The readers.
const (
	SameMachine    Reader = iota // has the same tables and the same clock: ids and instants say all
	AnotherMachine               // gets the portable part too
)

// RecordSchema returns what AppendRecord writes of a FlowState that is meant for the same machine.
func RecordSchema() []RecordField { return SchemaFor(SameMachine) }

// SchemaFor returns what AppendRecord writes of a FlowState that is meant for a reader.
func SchemaFor(reader Reader) (schema []RecordField) {
	for _, f := range fields {
		if f.older || f.Part == portable && reader == SameMachine {
			continue
		}
		f.Names = slices.Clone(f.Names)
		schema = append(schema, f.RecordField)
	}
	return schema
}

// The first octet of a record says which parts it has beside the flow's. An older release knows only the server's part.
const (
	hasServer byte = 1 << iota
	hasTalk
	isPortable
	hasMask
	allParts = hasServer | hasTalk | isPortable | hasMask
)

// partBit returns the bit of a part; 0 for the flow's, which is always present.
func partBit(part string) byte {
	switch part {
	case serverPart:
		return hasServer
	case talkPart:
		return hasTalk
	case portable:
		return isPortable
	case maskPart:
		return hasMask
	}
	return 0
}

// partsOf returns the first octet of a connection's record.
func partsOf(v *FlowState) (parts byte) {
	if v.Sought {
		parts |= hasServer
	}
	if v.Quoted {
		parts |= hasTalk
	}
	if v.Masking {
		parts |= hasMask
	}
	if v.Portable {
		parts |= isPortable
	}
	return parts
}

// written has the fields of a record, by its parts. A takeover writes a great many records, and most have few of the parts.
var written = func() (list [allParts + 1][]*field) {
	for parts := range list {
		for i := range fields {
			if f := &fields[i]; !f.older && partBit(f.Part)&^byte(parts) == 0 {
				list[parts] = append(list[parts], f)
			}
		}
	}
	return list
}()

// AppendRecord appends a connection's record to b.
func AppendRecord(b []byte, v *FlowState) []byte {
	parts := partsOf(v)
	b = append(b, parts)
	for _, f := range written[parts] {
		if f.text != nil {
			text := *f.text(v)
			text = text[:min(len(text), maxText)]
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
			continue
		}
		switch n := f.get(v); f.Size {
		case 1:
			b = append(b, byte(n))
		case 2:
			b = binary.BigEndian.AppendUint16(b, uint16(n))
		case 4:
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		default:
			b = binary.BigEndian.AppendUint64(b, n)
		}
	}
	return b
}

// RecordReader reads records by the schema of their writer.
type RecordReader struct {
	plan  [allParts + 1][]planned // by the parts of a record
	parts byte                    // those that the writer can write
	size  [allParts + 1]int       // likewise: the least number of octets, without the first
}

// planned is a field of the writer's schema.
type planned struct {
	*field
	size  int
	value []uint64 // by the writer's value, for fields with names
}

// unknownValue in planned.value marks a name that this release does not know.
const unknownValue = ^uint64(0)

// knows reports whether a writer's field can be read as this one.
func (f *field) knows(w *RecordField) bool {
	sizes := []int{1, 2, 4, 8}
	if f.text != nil {
		sizes = []int{0}
	}
	return w.Part == f.Part && slices.Contains(sizes, w.Size) && (w.Names == nil) == (f.Names == nil) && len(w.Names) <= 256
}

// NewRecordReader returns a reader; the error says what this release does not know or misses in the schema.
func NewRecordReader(schema []RecordField) (*RecordReader, error) {
	r := &RecordReader{}
	seen := map[string]bool{}
	for _, w := range schema {
		i := slices.IndexFunc(fields, func(f field) bool { return f.Name == w.Name })
		if i < 0 {
			return nil, fmt.Errorf("the field %q of a connection is unknown", w.Name)
		}
		f := &fields[i]
		if seen[w.Name] || !f.knows(&w) {
			return nil, fmt.Errorf("the field %q of a connection is not what it should be", w.Name)
		}
		seen[w.Name] = true
		p := planned{field: f, size: w.Size}
		for _, name := range w.Names {
			value := unknownValue
			if own := slices.Index(f.Names, name); own >= 0 {
				value = uint64(own)
			}
			p.value = append(p.value, value)
		}
		r.add(p, partBit(w.Part))
	}
	for _, f := range fields { // a writer for the same machine has nothing of what is portable
		if !seen[f.Name] && !f.added && (f.Part != portable || r.parts&isPortable != 0) {
			return nil, fmt.Errorf("the field %q of a connection is missing", f.Name)
		}
	}
	return r, nil
}

// add adds the writer's next field to all records that have its part.
func (r *RecordReader) add(p planned, part byte) {
	r.parts |= part
	for parts := range r.plan {
		if part&^byte(parts) == 0 {
			r.plan[parts] = append(r.plan[parts], p)
			r.size[parts] += p.least()
		}
	}
}

// textHead is how many octets say how long a text is, and maxText how long it can be.
const (
	textHead = 2
	maxText  = 1<<16 - 1
)

// least is how many octets of a record a field takes at least.
func (p *planned) least() int {
	if p.text != nil {
		return textHead
	}
	return p.size
}

// errCut reports a truncated record.
var errCut = errors.New("a connection's record is cut off")

// Read reads the first record of b into v and returns what follows it.
func (r *RecordReader) Read(b []byte, v *FlowState) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, errCut
	}
	parts := b[0]
	if parts&^r.parts != 0 {
		return nil, fmt.Errorf("a connection's record begins with %d", parts)
	}
	if b = b[1:]; len(b) < r.size[parts] {
		return nil, errCut
	}
	*v = FlowState{
		Sought: parts&hasServer != 0, Quoted: parts&hasTalk != 0, Portable: parts&isPortable != 0,
		Masking: parts&hasMask != 0, Server: NoServer, Slot: noSlot,
	}
	plan := r.plan[parts]
	for i := range plan {
		if b, err = plan[i].read(b, v); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// read reads one field into v and returns what follows it.
func (p *planned) read(b []byte, v *FlowState) (rest []byte, err error) {
	if len(b) < p.least() { // a text before it was longer than nothing
		return nil, errCut
	}
	if p.text != nil {
		n := int(binary.BigEndian.Uint16(b))
		if len(b)-textHead < n {
			return nil, errCut
		}
		*p.text(v) = string(b[textHead : textHead+n])
		return b[textHead+n:], nil
	}
	n := bigEndian(b[:p.size])
	if p.value != nil {
		if n >= uint64(len(p.value)) || p.value[n] == unknownValue {
			return nil, fmt.Errorf("the %s %d of a connection is unknown", p.Name, n)
		}
		n = p.value[n]
	}
	if !p.put(v, n) {
		return nil, fmt.Errorf("the %s of a connection is %d", p.Name, n)
	}
	return b[p.size:], nil
}

// bigEndian is the number in 1, 2, 4 or 8 octets.
func bigEndian(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}
