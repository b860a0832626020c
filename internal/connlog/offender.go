package connlog

import "hushgate/dataplane"

// AppendOffender appends an object on one line, without a newline, about a client that has become an offender. Its member event tells
// it apart from the lines of connections.
func (r *Renderer) AppendOffender(b []byte, e *dataplane.Event) []byte {
	o := object{b: append(b, '{')}
	o.str("time", r.Clock.Wall(e.Closed).Format("2006-01-02T15:04:05.000Z07:00"))
	r.offender(&o, e)
	return append(o.b, '}')
}

// AppendOffenderFields appends the same as fields of the journal.
func (r *Renderer) AppendOffenderFields(b Fields, e *dataplane.Event) Fields {
	f := journalFields{b}
	r.offender(&f, e)
	return f.b
}

func (r *Renderer) offender(o collector, e *dataplane.Event) {
	svc := &r.Names.Services[e.Service]
	o.str("event", "offender")
	o.str("client", e.Client.String())
	o.num("client_port", int64(e.ClientPort))
	o.str("service", svc.Address)
	o.str("frontend", svc.Frontend)
	o.str("offender", e.Offender.String())
	o.num("for_ms", millis(e.Until.Sub(e.Closed)))
	if e.Signature.Known() {
		o.str("signature", e.Signature.String())
	}
}
