package report

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hushgate/internal/evidence"
	"hushgate/internal/logread"
)

// file is a file to read.
type file struct {
	name string
	at   time.Time
}

// history is how far before the report's time logs are searched for servers that were down then and still are.
const history = 7 * 24 * time.Hour

// Read adds what the files say. They are logs, with what logrotate has made of them (mail.log.1, mail.log.2.gz, mail.log-20261127), or
// captures, with the older files of hushgate's own, or directories of captures; "-" is a log on standard input. Logs and captures have
// the same connections, so that both together are an error. Of what was last written before the report begins only logs are read, and
// only for what they say of servers. The oldest file comes first. A file that could not be read to its end is an error after everything
// else was read. Ports are those of services in captures.
func (r *Report) Read(ctx context.Context, names []string, ports []uint16, zone *time.Location) (unknown uint64, err error) {
	var logs []string
	var captures []file
	for _, name := range names {
		c, isLog, e := r.find(name, names)
		if captures, err = append(captures, c...), errors.Join(err, e); isLog {
			logs = append(logs, name)
		}
	}
	if len(logs) > 0 && len(captures) > 0 {
		return 0, errors.Join(err, fmt.Errorf("%s is a log, and %s a capture: give either, because both have the same connections", logs[0], captures[0].name))
	}
	if len(captures) > 0 {
		return 0, errors.Join(err, r.captures(ctx, sorted(captures), ports))
	}
	in := logread.Reader{Now: r.To, Zone: zone}
	files, e := r.logs(logs)
	err = errors.Join(err, e)
	for _, name := range files {
		in.Only = nil
		if st, e := os.Stat(name); e == nil && st.ModTime().Before(r.From) {
			in.Only = logread.MayBeServer
		}
		err = errors.Join(err, in.File(name, r.Add))
	}
	in.End(r.Add)
	return in.Unknown, err
}

// logs returns logs and what logrotate has made of them; standard input comes last.
func (r *Report) logs(names []string) ([]string, error) {
	input := slices.Contains(names, "-")
	files, err := logread.Files(slices.DeleteFunc(names, func(name string) bool { return name == "-" }), r.From.Add(-history))
	if input {
		files = append(files, "-")
	}
	return files, err
}

// find returns the captures that belong to a name, or says that it is a log.
func (r *Report) find(name string, names []string) (captures []file, isLog bool, err error) {
	if name == "-" {
		return nil, true, nil
	}
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("read for the report: %w", err)
	case st.IsDir():
		captures, err = r.directory(name)
		return captures, false, err
	case !isCapture(name):
		return nil, true, nil
	}
	older, err := evidence.Files(name)
	for _, o := range older {
		if st, e := os.Stat(o); e == nil && (o == name || !st.ModTime().Before(r.From) && !slices.Contains(names, o)) {
			captures = append(captures, file{o, st.ModTime()})
		}
	}
	return captures, false, err
}

// directory returns the captures in a directory that were written since the report begins.
func (r *Report) directory(dir string) (captures []file, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read for the report: %w", err)
	}
	found := false
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		st, err := os.Stat(name)
		if err != nil || !st.Mode().IsRegular() || !isCapture(name) {
			continue
		}
		if found = true; !st.ModTime().Before(r.From) {
			captures = append(captures, file{name, st.ModTime()})
		}
	}
	if !found {
		return nil, fmt.Errorf("%s has no capture (.pcap, .pcapng): a log is given by its own name", dir)
	}
	return captures, nil
}

// captureMagic are the first octets of pcapng, and of pcap in its four kinds.
var captureMagic = [][]byte{
	{0x0a, 0x0d, 0x0d, 0x0a}, {0xa1, 0xb2, 0xc3, 0xd4}, {0xd4, 0xc3, 0xb2, 0xa1}, {0xa1, 0xb2, 0x3c, 0x4d}, {0x4d, 0x3c, 0xb2, 0xa1},
}

// isCapture reports whether a file is one of packets: by its name, or by its first octets.
func isCapture(name string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	if ext := filepath.Ext(base); ext == ".pcap" || ext == ".pcapng" {
		return true
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return false
	}
	return slices.ContainsFunc(captureMagic, func(m []byte) bool { return bytes.Equal(m, magic) })
}

// sorted returns files with the oldest first, each once.
func sorted(files []file) []file {
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.name, b.name)) })
	return slices.CompactFunc(files, func(a, b file) bool { return a.name == b.name })
}
