// Package metrics shows the gateway's numbers to Prometheus: everything that the control API knows, and histograms of how
// long clients keep silent. Names follow Prometheus' conventions; `promtool check metrics` finds nothing to say about them.
//
// Numbers are read when Prometheus asks, from the same source as the API's. The histograms are filled as connections end.
package metrics
