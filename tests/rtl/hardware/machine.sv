// The whole machine: three command queues, two DMA engines, off-chip memory, scratchpad, weight
// buffer and a systolic array. Plus-arguments name the queues' commands and the memory's content;
// it prints when every command starts and ends, writes memory back and stops when all have ended.
module machine
  import machine_types::*;
#(
    parameter int ROWS = 4,
    parameter int COLS = 4,
    parameter int WIDTH = 8,
    parameter bit WEIGHTS = 0,  // the weights are stationary, not the outputs
    parameter bit PIPELINED = 0,
    parameter bit DOUBLE = 0,
    parameter int STAGES = 0,
    parameter bit READ_CLOCK = 0,
    parameter int PAD_SIZE = 8192,
    parameter bit BANKED = 0,
    parameter int BANKS = 16,
    parameter int WORD = 16,
    parameter int BUFFER_SIZE = 1024,
    parameter int DRAM_SIZE = 262144,
    parameter int BYTES = 8,
    parameter int LATENCY = 10,
    parameter int SETUP = 4,
    parameter bit TURNS = 0
) (
    input logic clock
);
  localparam int ELEMENT = WIDTH / 8;
  localparam int WRITES = WEIGHTS ? COLS : ROWS;

  logic [31:0] now = 0;
  logic [ENGINES-1:0][31:0] finished_by;
  logic [ENGINES-1:0] active, finish, empty;
  command_t head_in, head_out, head_array;

  command_queue #("dma-in") queue_in (
      .clock, .now, .finished_by, .finish(finish[DMA_IN]), .active(active[DMA_IN]),
      .head(head_in), .finished(finished_by[DMA_IN]), .empty(empty[DMA_IN])
  );
  command_queue #("dma-out") queue_out (
      .clock, .now, .finished_by, .finish(finish[DMA_OUT]), .active(active[DMA_OUT]),
      .head(head_out), .finished(finished_by[DMA_OUT]), .empty(empty[DMA_OUT])
  );
  command_queue #("array") queue_array (
      .clock, .now, .finished_by, .finish(finish[ARRAY]), .active(active[ARRAY]),
      .head(head_array), .finished(finished_by[ARRAY]), .empty(empty[ARRAY])
  );

  logic request, offer, out_ready;
  logic [31:0] arriving, taken, sent, in_address, out_address, out_bytes;
  logic [7:0] in_data[BYTES], out_data[BYTES];
  logic [BYTES-1:0] in_pad, in_buffer;
  dma_in #(.BYTES(BYTES), .SETUP(SETUP)) loader (
      .clock, .active(active[DMA_IN]), .head(head_in), .finish(finish[DMA_IN]), .request,
      .arriving, .write_address(in_address), .write_pad(in_pad),
      .write_buffer(in_buffer)
  );
  dma_out #(.SETUP(SETUP)) storer (
      .clock, .active(active[DMA_OUT]), .head(head_out), .finish(finish[DMA_OUT]), .offer,
      .ready(out_ready), .taken, .sent, .read_address(out_address)
  );
  dram #(.BYTES(BYTES), .LATENCY(LATENCY), .SIZE(DRAM_SIZE), .TURNS(TURNS)) memory (
      .clock, .request, .request_address(head_in.dram), .request_bytes(head_in.moved), .arriving,
      .data(in_data), .offer, .ready(out_ready), .offer_address(head_out.dram + sent),
      .offer_left(head_out.moved - sent),
      .offer_kept(sent < head_out.size ? head_out.size - sent : 0), .offer_data(out_data), .taken
  );

  read_t left_reads[ROWS], right_reads[COLS], reads[ROWS+COLS];
  logic [WIDTH-1:0] values[ROWS+COLS];
  logic signed [WIDTH-1:0] left_values[ROWS], right_values[COLS];
  write_t results[WRITES];
  logic ready;
  assign out_bytes = head_out.moved - sent < BYTES ? head_out.moved - sent : BYTES;
  scratchpad #(
      .SIZE(PAD_SIZE), .BYTES(BYTES), .READS(ROWS + COLS), .WRITES(WRITES), .ELEMENT(ELEMENT),
      .BANKED(BANKED), .BANKS(BANKS), .WORD(WORD)
  ) pad (
      .clock, .in_address, .in_write(in_pad), .in_data, .out_read(offer), .out_address, .out_bytes,
      .out_ready, .out_data, .reads, .values, .writes(results), .ready
  );

  // Streamed weights pass through a ring of their own.
  logic [7:0] ring[BUFFER_SIZE];
  always_ff @(posedge clock)
    for (int b = 0; b < BYTES; b++)
      if (in_buffer[b]) ring[(in_address+b)%BUFFER_SIZE] <= in_data[b];

  function automatic logic [WIDTH-1:0] in_ring(logic [31:0] address);
    for (int b = 0; b < ELEMENT; b++) in_ring[8*b+:8] = ring[(address+b)%BUFFER_SIZE];
  endfunction
  for (genvar i = 0; i < ROWS; i++) begin : left_port
    assign reads[i] = '{left_reads[i].present && !left_reads[i].streamed, 0, left_reads[i].address};
    assign left_values[i] = left_reads[i].streamed ? in_ring(left_reads[i].address) : values[i];
  end
  for (genvar j = 0; j < COLS; j++) begin : right_port
    assign reads[ROWS+j] =
        '{right_reads[j].present && !right_reads[j].streamed, 0, right_reads[j].address};
    assign right_values[j] =
        right_reads[j].streamed ? in_ring(right_reads[j].address) : values[ROWS+j];
  end

  if (WEIGHTS) begin : stationary_weights
    array_weights #(
        .ROWS(ROWS), .COLS(COLS), .WIDTH(WIDTH), .STAGES(STAGES), .DOUBLE(DOUBLE),
        .READ_CLOCK(READ_CLOCK)
    ) array (
        .clock, .enable(ready), .active(active[ARRAY]), .head(head_array), .finish(finish[ARRAY]),
        .left_reads, .right_reads, .left_values, .right_values, .results
    );
  end else begin : stationary_outputs
    array_outputs #(
        .ROWS(ROWS), .COLS(COLS), .WIDTH(WIDTH), .STAGES(STAGES), .PIPELINED(PIPELINED),
        .READ_CLOCK(READ_CLOCK)
    ) array (
        .clock, .enable(ready), .active(active[ARRAY]), .head(head_array), .finish(finish[ARRAY]),
        .left_reads, .right_reads, .left_values, .right_values, .results
    );
  end

  string file;
  logic [31:0] limit, used;
  initial begin
    if (!$value$plusargs("limit=%d", limit)) limit = 10_000_000;
    if (!$value$plusargs("used=%d", used)) used = DRAM_SIZE;
    if (used > DRAM_SIZE) $fatal(1, "more data than off-chip memory holds");
  end
  always_ff @(posedge clock) begin
    now <= now + 1;
    if (&empty) begin
      if ($value$plusargs("result=%s", file) != 0) $writememh(file, memory.cells, 0, used - 1);
      $finish;
    end else if (now >= limit) $fatal(1, "stands still");
  end
endmodule
