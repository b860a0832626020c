// Package capture reads and writes files of captured packets: pcap and pcapng, compressed with gzip or zstd or not, of
// the link types on which mail is carried. It knows links and IP headers, and no connections.
//
// Start with Open and Reader.Next in reader.go; Framer in frame.go makes of a packet what the rest of hushgate calls a
// frame. Writer writes pcapng with comments.
//
// pcapng is read by code of our own: gopacket's reader (1.1.19) panics on some corrupt options, asks for as much memory
// as a corrupt length says, tells no offsets, cuts link types to 8 bits and has wrong times for resolutions that are
// powers of two.
package capture
