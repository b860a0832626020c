package wire

// Option is one TCP option as it lies in the header, understood or not.
type Option struct {
	Kind uint8
	// Value is what follows kind and length. It points into the frame.
	Value []byte
}

// OptionAt returns the option at offset at of the segment's options, and the offset of the next one. Begin with 0; ok is false
// when there is none at that offset. The list is the header's own: no-operations are options, and so is each octet from the
// end of the list on (kind 0). An option whose length leads out of the header is the last one, and has no value.
func (s *Segment) OptionAt(at int) (o Option, next int, ok bool) {
	options := s.tcp[tcpMinLen : len(s.tcp)-len(s.Payload)]
	if at < 0 || at >= len(options) {
		return Option{}, at, false
	}
	switch kind := options[at]; kind {
	case optEnd:
		return Option{Kind: kind}, at + 1, true
	case optNop:
		return Option{Kind: kind}, at + 1, true
	default:
		if at+1 < len(options) {
			if n := int(options[at+1]); n >= 2 && at+n <= len(options) {
				return Option{Kind: kind, Value: options[at+2 : at+n : at+n]}, at + n, true
			}
		}
		return Option{Kind: kind}, len(options), true
	}
}
