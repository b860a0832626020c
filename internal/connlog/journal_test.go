package connlog

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"hushgate/dataplane"
)

// entry parses an entry of the journal's protocol, as journald does for values without a newline.
func entry(t *testing.T, text string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSuffix(name, "\n")
		if !ok || !strings.HasSuffix(value, "\n") || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			t.Fatalf("%q in %q", line, text)
		}
		if _, twice := fields[name]; twice {
			t.Errorf("%s comes twice", name)
		}
		fields[name] = strings.TrimSuffix(value, "\n")
	}
	return fields
}

// TestJournal checks an entry against the JSON line of the same connection.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l := listenUnix(t, path)
	s, err := Target{Address: "journal@" + path, Facility: "mail", Level: "info", Tag: "gate"}.Open()
	if err != nil {
		t.Fatal(err)
	}
	r := renderer()
	for _, e := range []*dataplane.Event{talker, quiet} {
		s.Record(Info, []byte("the line"), r.AppendFields(nil, e, Counts{}))
		got := entry(t, receive(t, l))
		for name, want := range map[string]string{
			"MESSAGE": "the line", "PRIORITY": "6", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "gate", "MESSAGE_ID": connectionID,
		} {
			if got[name] != want {
				t.Errorf("%s=%s, want %s", name, got[name], want)
			}
		}
		var o map[string]any
		if err := json.Unmarshal(r.AppendJSON(nil, e, Counts{}), &o); err != nil {
			t.Fatal(err)
		}
		delete(o, "time")
		for key, v := range o {
			name := "HUSHGATE_" + strings.ToUpper(key)
			text, is := got[name]
			want, _ := json.Marshal(v)
			if plain, isText := v.(string); isText {
				want = []byte(plain)
			}
			if is != (v != nil) || is && text != string(want) {
				t.Errorf("%s=%s, want %s", name, text, want)
			}
		}
	}
	s.Line(Alert, []byte("a notice\nMESSAGE=another"))
	if got := entry(t, receive(t, l)); got["MESSAGE"] != "a notice?MESSAGE=another" || got["PRIORITY"] != "1" || got["MESSAGE_ID"] != noticeID {
		t.Errorf("%v", got)
	}
	s.Line(7, []byte("debug is not wanted"))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Written != 3 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// FuzzJournal: whatever a client says is one field, and no other field comes out of it.
func FuzzJournal(f *testing.F) {
	f.Add([]byte("EHLO x\r\nPRIORITY=0\n"))
	f.Add([]byte{0, 0xff, '\n', '='})
	f.Fuzz(func(t *testing.T, talk []byte) {
		e := *talker
		e.TalkHead = [dataplane.TalkSample]byte{}
		e.TalkLen = uint32(copy(e.TalkHead[:], talk))
		r := renderer()
		plain := entry(t, string(newJournal("", 2).append(nil, Info, []byte("x"), r.AppendFields(nil, talker, Counts{}))))
		got := entry(t, string(newJournal("", 2).append(nil, Info, talk, r.AppendFields(nil, &e, Counts{}))))
		if len(talk) > 0 && len(got) != len(plain) || got["PRIORITY"] != "6" || strings.ContainsAny(got["MESSAGE"], "\x00\r\x1b") {
			t.Fatalf("%v", got)
		}
	})
}
