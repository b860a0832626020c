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
	Files  int           // number of files, including the one being written
	Age    time.Duration // age limit of packets
	Memory int           // octets for each shard, for packets of connections without a verdict yet
}

// capture reads {file, size, files, age, memory} with the handlers of its keys, and checks them together.
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
