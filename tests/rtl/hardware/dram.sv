// Off-chip memory: a request travels LATENCY registers before its data stream begins. BYTES lanes
// lead to it, shared half and half by a read and a write stream that move in the same clock.
// What one of them cannot use, for want of data or of banks, is lost. With TURNS the streams take all
// lanes in turn instead.
module dram
  import machine_types::*;
#(
    parameter int BYTES = 8,
    parameter int LATENCY = 10,
    parameter int SIZE = 65536,
    parameter bit TURNS = 0
) (
    input logic clock,
    input logic request,
    input logic [31:0] request_address,
    input logic [31:0] request_bytes,
    output logic [31:0] arriving,
    output logic [7:0] data[BYTES],
    input logic offer,
    input logic ready,
    input logic [31:0] offer_address,
    input logic [31:0] offer_left,
    input logic [31:0] offer_kept,
    input logic [7:0] offer_data[BYTES],
    output logic [31:0] taken
);
  typedef struct packed {
    logic [31:0] address;
    logic [31:0] bytes;
  } stream_t;

  logic [7:0] cells[SIZE];
  stream_t travelling[LATENCY];
  stream_t left;
  stream_t now;
  logic last_was_read;
  string file;

  initial begin
    for (int i = 0; i < LATENCY; i++) travelling[i] = '0;
    left = '0;
    last_was_read = 0;
    if ($value$plusargs("memory=%s", file) != 0) $readmemh(file, cells);
  end

  assign now = travelling[LATENCY-1].bytes != 0 ? travelling[LATENCY-1] : left;

  logic both;
  logic [31:0] read_lanes, write_lanes;
  assign both = now.bytes != 0 && offer;
  always_comb
    if (!both) begin
      read_lanes = BYTES;
      write_lanes = BYTES;
    end else if (TURNS) begin
      read_lanes = last_was_read ? 0 : BYTES;
      write_lanes = last_was_read ? BYTES : 0;
    end else begin
      read_lanes = BYTES / 2;
      write_lanes = BYTES / 2;
    end
  assign arriving = now.bytes < read_lanes ? now.bytes : read_lanes;
  assign taken = !offer || !ready ? 0 : offer_left < write_lanes ? offer_left : write_lanes;
  always_comb for (int b = 0; b < BYTES; b++) data[b] = cells[(now.address+b)%SIZE];

  always_ff @(posedge clock) begin
    travelling[0].address <= request_address;
    travelling[0].bytes <= request ? request_bytes : 0;
    for (int i = 1; i < LATENCY; i++) travelling[i] <= travelling[i-1];
    left.address <= now.address + arriving;
    left.bytes <= now.bytes - arriving;
    last_was_read <= arriving != 0;
    for (int b = 0; b < BYTES; b++)
      if (b < taken && b < offer_kept) cells[(offer_address+b)%SIZE] <= offer_data[b];
  end
endmodule
