// Package capture reads and writes files of captured packets: pcap and pcapng, plain or compressed with gzip or zstd, with the
// link types that can carry mail. It knows links and IP headers, and no connections.
//
// Start with Open and Reader.Next in reader.go. Framer in frame.go converts a packet to what the rest of hushgate calls a
// frame. Writer writes pcapng with comments.
//
// pcapng is read by our own code, because gopacket's reader (1.1.19) panics on some corrupt options, allocates as much
// memory as a corrupt length demands, reports no offsets, truncates link types to 8 bits, and computes wrong times for
// resolutions that are powers of two.
package capture
