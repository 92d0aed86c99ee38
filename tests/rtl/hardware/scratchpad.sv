// On-chip memory, read within the clock. Normally every master has ports of its own. With BANKED
// it consists of BANKS single-ported banks of WORD bytes, interleaved by words: the DMA comes first,
// in before out; of the array's accesses each bank serves one word per clock, for all that want that
// word, and ``ready`` tells when the last of them has been served.
module scratchpad
  import machine_types::*;
#(
    parameter int SIZE = 8192,
    parameter int BYTES = 8,
    parameter int READS = 8,
    parameter int WRITES = 4,
    parameter int ELEMENT = 1,
    parameter bit BANKED = 0,
    parameter int BANKS = 16,
    parameter int WORD = 16
) (
    input logic clock,
    input logic [31:0] in_address,
    input logic [BYTES-1:0] in_write,
    input logic [7:0] in_data[BYTES],
    input logic out_read,
    input logic [31:0] out_address,
    input logic [31:0] out_bytes,
    output logic out_ready,
    output logic [7:0] out_data[BYTES],
    input read_t reads[READS],
    output logic [8*ELEMENT-1:0] values[READS],
    input write_t writes[WRITES],
    output logic ready
);
  logic [7:0] cells[SIZE];
  logic [WRITES-1:0] commit;
  initial for (int i = 0; i < SIZE; i++) cells[i] = 8'hA5;  // freed or never written: poison

  function automatic logic [8*ELEMENT-1:0] element(logic [31:0] address);
    for (int b = 0; b < ELEMENT; b++) element[8*b+:8] = cells[(address+b)%SIZE];
  endfunction

  always_comb for (int b = 0; b < BYTES; b++) out_data[b] = cells[(out_address+b)%SIZE];

  always_ff @(posedge clock) begin
    for (int b = 0; b < BYTES; b++) if (in_write[b]) cells[(in_address+b)%SIZE] <= in_data[b];
    for (int w = 0; w < WRITES; w++)
      if (commit[w]) begin
        logic [31:0] total;
        total = writes[w].value;
        if (writes[w].accumulate)
          total += {cells[(writes[w].address+3)%SIZE], cells[(writes[w].address+2)%SIZE],
                    cells[(writes[w].address+1)%SIZE], cells[writes[w].address%SIZE]};
        for (int b = 0; b < 4; b++) cells[(writes[w].address+b)%SIZE] <= total[8*b+:8];
      end
  end

  if (!BANKED) begin : ports
    assign ready = 1;
    assign out_ready = 1;
    always_comb for (int r = 0; r < READS; r++) values[r] = element(reads[r].address);
    always_comb for (int w = 0; w < WRITES; w++) commit[w] = writes[w].present;
  end else begin : banks
    logic [READS-1:0] read_before = '0, read_served;
    logic [WRITES-1:0] written_before = '0, write_served;
    logic [8*ELEMENT-1:0] held[READS];

    function automatic int bank_of(logic [31:0] address);
      return int'(address / WORD % BANKS);
    endfunction

    // What a bank does in this clock: nothing, the DMA's work, or one word of the array's.
    typedef enum logic [1:0] {IDLE, DMA, READING, WRITING} use_t;

    always_comb begin
      use_t used[BANKS];
      logic [31:0] word[BANKS];
      int b;
      for (int i = 0; i < BANKS; i++) begin
        used[i] = IDLE;
        word[i] = 0;
      end
      for (int i = 0; i < BYTES; i++) if (in_write[i]) used[bank_of(in_address+i)] = DMA;
      out_ready = 1;
      for (int i = 0; i < BYTES; i++)
        if (i < out_bytes && used[bank_of(out_address+i)] != IDLE) out_ready = 0;
      for (int i = 0; i < BYTES; i++)
        if (out_read && out_ready && i < out_bytes) used[bank_of(out_address+i)] = DMA;
      read_served = read_before;
      for (int r = 0; r < READS; r++) begin
        b = bank_of(reads[r].address);
        if (!reads[r].present) read_served[r] = 1;
        else if (!read_served[r]) begin
          if (used[b] == IDLE) begin
            used[b] = READING;
            word[b] = reads[r].address / WORD;
          end
          read_served[r] = used[b] == READING && word[b] == reads[r].address / WORD;
        end
      end
      write_served = written_before;
      commit = '0;
      for (int w = 0; w < WRITES; w++) begin
        b = bank_of(writes[w].address);
        if (!writes[w].present) write_served[w] = 1;
        else if (!write_served[w]) begin
          if (used[b] == IDLE) begin
            used[b] = WRITING;
            word[b] = writes[w].address / WORD;
          end
          write_served[w] = used[b] == WRITING && word[b] == writes[w].address / WORD;
          commit[w] = write_served[w];
        end
      end
      ready = &read_served && &write_served;
    end

    always_comb
      for (int r = 0; r < READS; r++)
        values[r] = read_before[r] ? held[r] : element(reads[r].address);

    always_ff @(posedge clock) begin
      read_before <= ready ? '0 : read_served;
      written_before <= ready ? '0 : write_served;
      for (int r = 0; r < READS; r++) held[r] <= values[r];
    end
  end
endmodule
