// Array with stationary outputs. Left operands enter at the left edge and move right, right operands
// enter at the top and move down, one element per clock; a token that says which term of which fold
// is due walks down the edge lanes and so skews them.
//
// Drained: the units of a row finish one clock after another, so that a bus per row takes results to
// memory; the next fold is let in when the far corner has delivered. PIPELINED: results move to
// output registers, which shift to the right once the far corner's is filled; the next fold is let in
// ROWS + COLS clocks after the one before at the earliest, when the first register is empty in time.
module array_outputs
  import machine_types::*;
#(
    parameter int ROWS = 4,
    parameter int COLS = 4,
    parameter int WIDTH = 8,
    parameter int STAGES = 0,
    parameter bit PIPELINED = 0,
    parameter bit READ_CLOCK = 0  // what is read in one clock arrives in the next
) (
    input logic clock,
    input logic enable,
    input logic active,
    input command_t head,
    output logic finish,
    output read_t left_reads[ROWS],
    output read_t right_reads[COLS],
    input logic signed [WIDTH-1:0] left_values[ROWS],
    input logic signed [WIDTH-1:0] right_values[COLS],
    output write_t results[ROWS]
);
  typedef struct packed {
    logic valid;
    logic first;
    logic last;
    logic [31:0] row;
    logic [31:0] column;
    logic [31:0] term;
  } token_t;

  // Sequencer.
  logic [31:0] term = 0, row = 0, column = 0, since = 0;
  logic holding = 0, all_in = 0;
  logic corner, last_term, last_fold;
  token_t token;

  assign last_term = token.valid && term == head.terms - 1;
  assign last_fold = row + ROWS >= head.rows && column + COLS >= head.columns;
  assign token = '{active && !holding && !all_in, term == 0, term == head.terms - 1,
                   row, column, term};

  logic [31:0] spent;  // clocks since the fold's first term, this one included
  logic next_may_enter;
  assign spent = token.valid && term == 0 ? 1 : since + 1;
  assign next_may_enter = PIPELINED ? spent >= ROWS + COLS : corner;

  always_ff @(posedge clock)
    if (finish) begin
      term <= 0;
      row <= 0;
      column <= 0;
      since <= 0;
      holding <= 0;
      all_in <= 0;
    end else if (active && enable) begin
      since <= spent;
      holding <= (holding || last_term) && !next_may_enter;
      if (token.valid) term <= last_term ? 0 : term + 1;
      if (last_term && last_fold) all_in <= 1;
      else if (last_term && column + COLS >= head.columns) begin
        column <= 0;
        row <= row + ROWS;
      end else if (last_term) column <= column + COLS;
    end

  // Edge lanes.
  token_t left_token[ROWS], right_token[COLS];
  assign left_token[0] = token;
  assign right_token[0] = token;
  for (genvar i = 1; i < ROWS; i++) begin : left_lane
    token_t kept = '0;
    always_ff @(posedge clock) if (enable) kept <= left_token[i-1];
    assign left_token[i] = kept;
  end
  for (genvar j = 1; j < COLS; j++) begin : right_lane
    token_t kept = '0;
    always_ff @(posedge clock) if (enable) kept <= right_token[j-1];
    assign right_token[j] = kept;
  end
  always_comb
    for (int i = 0; i < ROWS; i++) begin
      left_reads[i] = element_of(head.left, left_token[i].row + i, left_token[i].term, WIDTH / 8);
      if (!left_token[i].valid || left_token[i].row + i >= head.rows) left_reads[i].present = 0;
    end
  always_comb
    for (int j = 0; j < COLS; j++) begin
      right_reads[j] =
          element_of(head.right, right_token[j].column + j, right_token[j].term, WIDTH / 8);
      if (!right_token[j].valid || right_token[j].column + j >= head.columns)
        right_reads[j].present = 0;
    end

  // What arrives at the edges.
  logic signed [WIDTH-1:0] left_read[ROWS], left_edge[ROWS], right_read[COLS], right_edge[COLS];
  logic [2:0] flags_read[ROWS], flags_edge[ROWS];
  always_comb
    for (int i = 0; i < ROWS; i++) begin
      left_read[i] = left_reads[i].present ? left_values[i] : 0;
      flags_read[i] = {left_token[i].valid, left_token[i].first, left_token[i].last};
    end
  always_comb
    for (int j = 0; j < COLS; j++) right_read[j] = right_reads[j].present ? right_values[j] : 0;
  if (READ_CLOCK) begin : later
    initial for (int i = 0; i < ROWS; i++) flags_edge[i] = 0;
    always_ff @(posedge clock)
      if (enable) begin
        left_edge <= left_read;
        right_edge <= right_read;
        flags_edge <= flags_read;
      end
  end else begin : at_once
    assign left_edge = left_read;
    assign right_edge = right_read;
    assign flags_edge = flags_read;
  end

  // Grid.
  logic signed [WIDTH-1:0] left[ROWS][COLS], right[ROWS][COLS];
  logic [2:0] flags[ROWS][COLS];
  logic done[ROWS][COLS];
  logic signed [31:0] value[ROWS][COLS];
  for (genvar i = 0; i < ROWS; i++) begin : grid_row
    for (genvar j = 0; j < COLS; j++) begin : grid
      if (j == 0) begin : first_column
        assign left[i][j] = left_edge[i];
        assign flags[i][j] = flags_edge[i];
      end else begin : from_left
        logic signed [WIDTH-1:0] kept = 0;
        logic [2:0] kept_flags = 0;
        always_ff @(posedge clock)
          if (enable) begin
            kept <= left[i][j-1];
            kept_flags <= flags[i][j-1];
          end
        assign left[i][j] = kept;
        assign flags[i][j] = kept_flags;
      end
      if (i == 0) begin : first_row
        assign right[i][j] = right_edge[j];
      end else begin : from_above
        logic signed [WIDTH-1:0] kept = 0;
        always_ff @(posedge clock) if (enable) kept <= right[i-1][j];
        assign right[i][j] = kept;
      end
      element_outputs #(
          .WIDTH(WIDTH),
          .STAGES(STAGES)
      ) element (
          .clock,
          .enable,
          .valid(flags[i][j][2]),
          .first(flags[i][j][1]),
          .last(flags[i][j][0]),
          .left(left[i][j]),
          .right(right[i][j]),
          .done(done[i][j]),
          .result(value[i][j])
      );
    end
  end
  assign corner = done[ROWS-1][COLS-1];

  // Results: the fold that leaves, and per row the value and column on its way out.
  logic [31:0] out_row = 0, out_column = 0;
  logic leaving[ROWS];
  logic [31:0] leaving_column[ROWS];
  logic signed [31:0] leaving_value[ROWS];
  logic fold_out, last_out;
  assign last_out = out_row + ROWS >= head.rows && out_column + COLS >= head.columns;
  assign finish = active && enable && fold_out && last_out;

  always_ff @(posedge clock)
    if (finish) begin
      out_row <= 0;
      out_column <= 0;
    end else if (enable && fold_out) begin
      out_column <= out_column + COLS >= head.columns ? 0 : out_column + COLS;
      if (out_column + COLS >= head.columns) out_row <= out_row + ROWS;
    end

  if (!PIPELINED) begin : buses
    assign fold_out = corner;
    always_comb
      for (int i = 0; i < ROWS; i++) begin
        leaving[i] = 0;
        leaving_column[i] = 0;
        leaving_value[i] = 0;
        for (int j = 0; j < COLS; j++)
          if (done[i][j]) begin
            leaving[i] = 1;
            leaving_column[i] = leaving_column[i] | j;
            leaving_value[i] = leaving_value[i] | value[i][j];
          end
      end
  end else begin : registers
    logic signed [31:0] kept[ROWS][COLS];
    logic full[ROWS][COLS];
    logic [31:0] remaining_before = 0, remaining, first;
    assign remaining = remaining_before == 0 && full[ROWS-1][COLS-1] ? COLS : remaining_before;
    assign first = COLS - remaining;
    assign fold_out = remaining == 1;
    always_comb
      for (int i = 0; i < ROWS; i++) begin
        leaving[i] = remaining != 0;
        leaving_column[i] = remaining - 1;
        leaving_value[i] = kept[i][COLS-1];
      end
    always_ff @(posedge clock)
      if (enable && remaining != 0) remaining_before <= remaining - 1;
    for (genvar i = 0; i < ROWS; i++) begin : register_row
      for (genvar j = 0; j < COLS; j++) begin : register_column
        logic shift;
        logic signed [31:0] from_left;
        if (j == 0) begin : leftmost
          assign shift = 0;
          assign from_left = 0;
        end else begin : follower
          assign shift = remaining != 0 && j > first;
          assign from_left = kept[i][j-1];
        end
        output_register register (
            .clock,
            .enable,
            .fill(done[i][j]),
            .value(value[i][j]),
            .vacate(remaining != 0 && j == first),
            .shift,
            .from_left,
            .full(full[i][j]),
            .kept(kept[i][j])
        );
      end
    end
  end

  always_comb
    for (int i = 0; i < ROWS; i++) begin
      results[i].present = leaving[i] && out_row + i < head.rows
          && out_column + leaving_column[i] < head.columns;
      results[i].address = head.out + (out_row + i) * head.out_row
          + (out_column + leaving_column[i]) * head.out_column;
      results[i].accumulate = head.accumulate[0];
      results[i].value = leaving_value[i];
    end
endmodule
