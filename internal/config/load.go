package config

import (
	"crypto/sha256"
	_ "embed" // for the two files below
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Reference is a typical configuration in HAProxy's syntax: an early-talker test of 30 s before two mail servers.
//
//go:embed reference.cfg
var Reference []byte

// Keywords is a configuration in HAProxy's syntax with every keyword that has an effect here. Each is at its default if it
// has one.
//
//go:embed keywords.cfg
var Keywords []byte

// Load reads and resolves the configuration in the file at path, and the files of networks that it names. See Parse. A mistake
// in one of those files is an error like any other.
func Load(path string) (*Config, []Warning, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	p := &problems{file: path}
	cfg, ok := p.read(path, text, os.LookupEnv)
	if ok {
		readLists(p, cfg)
	}
	warnings, err := p.result()
	if err != nil {
		return nil, warnings, err
	}
	cfg.SHA256 = fmt.Sprintf("%x", sha256.Sum256(text))
	return cfg, warnings, nil
}

// Parse resolves a configuration and reads no other file. Each error begins with the name. The name's extension (.yaml, .yml or .cfg) decides the
// syntax; with any other extension the text decides. The error is of type Errors and holds all mistakes; the Config is then
// nil, and nothing may be started. Warnings are sorted by line, and are returned with errors too.
func Parse(name string, text []byte) (*Config, []Warning, error) {
	return parse(name, text, os.LookupEnv)
}

func parse(name string, text []byte, env func(string) (string, bool)) (*Config, []Warning, error) {
	p := &problems{file: name}
	cfg, _ := p.read(name, text, env)
	warnings, err := p.result()
	if err != nil {
		return nil, warnings, err
	}
	return cfg, warnings, nil
}

// read resolves a configuration as far as it can be read, whatever is wrong with it; false if it is no text.
func (p *problems) read(name string, text []byte, env func(string) (string, bool)) (*Config, bool) {
	text, ok := p.decode(name, text)
	if !ok {
		return nil, false
	}
	var raw rawConfig
	if isYAML(name, text) {
		raw = parseYAML(p, text)
	} else {
		raw = parseHAProxy(p, text, env)
	}
	return resolve(p, raw), true
}

// yamlStart matches a first line that only YAML has: a key with its colon, the mark of a document, or a flow mapping.
var yamlStart = regexp.MustCompile(`^(---|\{|[A-Za-z_-]+:(\s|$))`)

// isYAML decides the syntax by the file's extension, or by the first line that is neither empty nor a comment.
func isYAML(name string, text []byte) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml":
		return true
	case ".cfg":
		return false
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			return yamlStart.MatchString(line)
		}
	}
	return false
}
