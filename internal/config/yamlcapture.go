package config

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Capture says where the first packets of rejected connections are kept, and for how long.
type Capture struct {
	File   string        // absolute, ends in .pcapng; empty: nothing is kept
	Size   int           // octets of one file
	Files  int           // of them, the one that is written included
	Age    time.Duration // of the oldest packets
	Memory int           // octets of each shard, for packets of connections that are not judged yet
}

// capture reads {file, size, files, age, memory} with the handler of its keys, and looks at them together.
func (r *yamlReader) capture(read func(string, ast.Node)) func(string, ast.Node) {
	return func(key string, node ast.Node) {
		g, before := &r.raw.global, len(r.errs)
		fill(captureSettings, g)
		read(key, node)
		if g.Capture.File == "" && len(r.errs) == before {
			r.wrong(lineOf(node), key, "needs file: where to keep the packets")
		}
		if line := g.lines["capture.age"]; line > 0 && g.Capture.Age < time.Minute {
			r.wrong(line, "age", "expected a minute or more")
		}
	}
}

func checkCaptureFile(s string) error {
	switch {
	case !filepath.IsAbs(s):
		return errors.New("it is not absolute")
	case filepath.Ext(s) != ".pcapng":
		return errors.New("it does not end in .pcapng")
	}
	return nil
}
