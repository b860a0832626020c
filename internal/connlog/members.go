package connlog

import "strconv"

// object builds a JSON object.
type object struct{ b []byte }

func (o *object) key(k string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, k...)
	o.b = append(o.b, `":`...)
}

// str writes a string that is printable ASCII, as our own and escaped strings are. It escapes only quotes and backslashes.
func (o *object) str(k, v string) {
	o.key(k)
	o.quoted(v)
}

// list writes an array of such strings.
func (o *object) list(k string, values []string) {
	o.key(k)
	o.b = append(o.b, '[')
	for i, v := range values {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.quoted(v)
	}
	o.b = append(o.b, ']')
}

func (o *object) quoted(v string) {
	o.b = append(o.b, '"')
	for i := range len(v) {
		if v[i] == '"' || v[i] == '\\' {
			o.b = append(o.b, '\\')
		}
		o.b = append(o.b, v[i])
	}
	o.b = append(o.b, '"')
}

func (o *object) flag(k string) {
	o.key(k)
	o.b = append(o.b, "true"...)
}

func (o *object) num(k string, v int64) {
	o.key(k)
	o.b = strconv.AppendInt(o.b, v, 10)
}

func (o *object) time(k string, v int64) {
	if v >= 0 {
		o.num(k, v)
		return
	}
	o.key(k)
	o.b = append(o.b, "null"...)
}

// journalFields builds fields of the journal: the members of the object, as HUSHGATE_MEMBER=value.
type journalFields struct{ b Fields }

func (f *journalFields) key(k string) {
	f.b = append(f.b, "HUSHGATE_"...)
	for i := range len(k) {
		c := k[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		f.b = append(f.b, c)
	}
	f.b = append(f.b, '=')
}

func (f *journalFields) str(k, v string) {
	f.key(k)
	f.b = append(append(f.b, v...), '\n')
}

// list writes a field for each value, as the journal permits.
func (f *journalFields) list(k string, values []string) {
	for _, v := range values {
		f.str(k, v)
	}
}

func (f *journalFields) flag(k string) { f.str(k, "true") }

func (f *journalFields) num(k string, v int64) {
	f.key(k)
	f.b = append(strconv.AppendInt(f.b, v, 10), '\n')
}

func (f *journalFields) time(k string, v int64) {
	if v >= 0 {
		f.num(k, v)
	}
}
