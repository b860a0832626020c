package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// readBody reads the body. Only JSON is accepted, which a form on a foreign page cannot send.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, kind(http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("the body has more than %d octets", maxBody))
	case err != nil:
		return nil, kind(http.StatusBadRequest, "invalid", "the body was not received: "+err.Error())
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); len(body) > 0 && (err != nil || media != "application/json") {
		return nil, kind(http.StatusUnsupportedMediaType, "media-type", "expected a body of the type application/json")
	}
	return body, nil
}

// decode reads the body into v, a pointer to a struct that has a field for every member that is allowed. Unlike encoding/json, it
// accepts a member only once, and only in its own spelling: which of two values counts, nobody should have to guess. A member that is
// null is as good as left out, unless the field is an Optional.
func (r *request) decode(v any) error {
	if len(bytes.TrimSpace(r.body)) == 0 {
		return Invalid("", "expected a JSON object in the body, found nothing")
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return Invalid("", fmt.Sprintf("expected a JSON object in the body, found %q", clip(string(r.body))))
	}
	fields, seen := membersOf(v), map[string]bool{}
	for d.More() {
		name, value, err := readMember(d)
		if err != nil {
			return Invalid("", "the body is malformed: "+err.Error())
		}
		to, known := fields[name]
		switch {
		case !known:
			return Invalid(clip(name), fmt.Sprintf("there is no member %q here: expected %s", clip(name), strings.Join(slices.Sorted(maps.Keys(fields)), ", ")))
		case seen[name]:
			return Invalid(name, name+": expected one value, found more")
		}
		seen[name] = true
		if err := json.Unmarshal(value, to.Addr().Interface()); err != nil {
			return Invalid(name, fmt.Sprintf("%s: expected %s, found %s", name, wanted(to.Type()), clip(string(value))))
		}
	}
	if _, err := d.Token(); err != nil {
		return Invalid("", "the body is malformed: "+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Invalid("", "the body: expected one JSON object, found more after it")
	}
	return nil
}

// readMember reads the next member of a JSON object.
func readMember(d *json.Decoder) (name string, value json.RawMessage, err error) {
	t, err := d.Token()
	if err != nil {
		return "", nil, err
	}
	name, _ = t.(string) // the decoder takes nothing else here
	return name, value, d.Decode(&value)
}

// membersOf returns the fields of a struct by the names of their members.
func membersOf(v any) map[string]reflect.Value {
	s, fields := reflect.ValueOf(v).Elem(), map[string]reflect.Value{}
	for i := range s.NumField() {
		name, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = s.Field(i)
	}
	return fields
}

// wanted describes the values that a field can have.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Struct: // Optional
		return wanted(t.Field(1).Type) + " or null"
	case reflect.Slice:
		return "a list, each of it " + wanted(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	default:
		return "a whole number"
	}
}
