// Array with stationary weights. A block [ROWS terms, COLS columns] of the right operand shifts in
// from the top, last row first; then the rows of the left operand stream through, each lane STAGES + 1
// clocks behind the one above. Sums leave at the bottom and are added up over the blocks of a column
// in accumulators; the last block's go to memory. Blocks follow each other once the far corner has
// delivered. DOUBLE: the next block shifts in while one streams.
module array_weights
  import machine_types::*;
#(
    parameter int ROWS = 4,
    parameter int COLS = 4,
    parameter int WIDTH = 8,
    parameter int STAGES = 3,
    parameter bit DOUBLE = 0,
    parameter bit READ_CLOCK = 0,  // what is read in one clock arrives in the next
    parameter int STREAMED = 1024  // rows the accumulators have room for
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
    output write_t results[COLS]
);
  typedef struct packed {
    logic valid;
    logic [31:0] row;
  } token_t;

  // Sequencer: block at work, block that loads, rows streamed.
  logic [31:0] term = 0, column = 0, row = 0, loaded = 0;
  logic streaming = 0;
  logic [31:0] next_term, next_column, load_term, load_column;
  logic last_block, loading, block_over;
  token_t token;

  assign next_term = term + ROWS >= head.terms ? 0 : term + ROWS;
  assign next_column = term + ROWS >= head.terms ? column + COLS : column;
  assign last_block = next_column >= head.columns;
  assign load_term = streaming ? next_term : term;
  assign load_column = streaming ? next_column : column;
  assign loading = active && loaded != ROWS && (!streaming || (DOUBLE && !last_block));
  assign token = '{active && streaming && row < head.rows, row};
  assign finish = active && enable && block_over && last_block;

  always_ff @(posedge clock)
    if (finish) begin
      term <= 0;
      column <= 0;
      row <= 0;
      loaded <= 0;
      streaming <= 0;
    end else if (active && enable) begin
      if (loading) loaded <= loaded + 1;
      if (loading && !streaming && loaded == ROWS - 1) begin
        streaming <= 1;
        loaded <= 0;
      end
      if (token.valid) row <= row + 1;
      if (block_over) begin
        term <= next_term;
        column <= next_column;
        row <= 0;
        loaded <= 0;
        streaming <= DOUBLE;
      end
    end

  // Edge lanes.
  token_t lane[ROWS];
  assign lane[0] = token;
  for (genvar i = 1; i < ROWS; i++) begin : left_lane
    token_t kept[STAGES+1];
    initial for (int s = 0; s <= STAGES; s++) kept[s] = '0;
    always_ff @(posedge clock)
      if (enable) begin
        kept[0] <= lane[i-1];
        for (int s = 1; s <= STAGES; s++) kept[s] <= kept[s-1];
      end
    assign lane[i] = kept[STAGES];
  end
  always_comb
    for (int i = 0; i < ROWS; i++) begin
      left_reads[i] = element_of(head.left, lane[i].row, term + i, WIDTH / 8);
      if (!lane[i].valid || term + i >= head.terms) left_reads[i].present = 0;
    end
  logic [31:0] load_row;
  assign load_row = load_term + ROWS - 1 - loaded;
  always_comb
    for (int j = 0; j < COLS; j++) begin
      right_reads[j] = element_of(head.right, load_column + j, load_row, WIDTH / 8);
      if (!loading || load_column + j >= head.columns || load_row >= head.terms)
        right_reads[j].present = 0;
    end

  // What arrives at the edges. A block goes to work with its last row, or if it was loaded during
  // another's stream when that one is over.
  logic signed [WIDTH-1:0] left_read[ROWS], left_edge[ROWS], right_read[COLS], right_edge[COLS];
  logic shift, put_to_work, first_loaded, take;
  token_t entering;
  assign first_loaded = loading && !streaming && loaded == ROWS - 1;
  always_comb
    for (int i = 0; i < ROWS; i++) left_read[i] = left_reads[i].present ? left_values[i] : 0;
  always_comb
    for (int j = 0; j < COLS; j++) right_read[j] = right_reads[j].present ? right_values[j] : 0;
  if (READ_CLOCK) begin : later
    initial begin
      shift = 0;
      put_to_work = 0;
      entering = '0;
    end
    always_ff @(posedge clock)
      if (enable) begin
        left_edge <= left_read;
        right_edge <= right_read;
        shift <= loading;
        put_to_work <= first_loaded;
        entering <= lane[ROWS-1];
      end
  end else begin : at_once
    assign left_edge = left_read;
    assign right_edge = right_read;
    assign shift = loading;
    assign put_to_work = first_loaded;
    assign entering = lane[ROWS-1];
  end
  assign take = DOUBLE ? put_to_work || block_over : shift;

  // Grid.
  logic signed [WIDTH-1:0] left[ROWS][COLS], weight[ROWS][COLS];
  logic signed [31:0] tapped[ROWS][COLS], sum[ROWS][COLS];
  for (genvar i = 0; i < ROWS; i++) begin : grid_row
    for (genvar j = 0; j < COLS; j++) begin : grid
      logic signed [WIDTH-1:0] weight_above;
      logic signed [31:0] sum_above;
      if (i == 0) begin : first_row
        assign weight_above = right_edge[j];
        assign sum_above = 0;
      end else begin : from_above
        assign weight_above = weight[i-1][j];
        assign sum_above = sum[i-1][j];
      end
      if (j == 0) begin : first_column
        assign left[i][j] = left_edge[i];
      end else begin : from_left
        logic signed [WIDTH-1:0] kept = 0;
        always_ff @(posedge clock) if (enable) kept <= left[i][j-1];
        assign left[i][j] = kept;
      end
      element_weights #(
          .WIDTH(WIDTH),
          .STAGES(STAGES)
      ) element (
          .clock,
          .enable,
          .shift,
          .take,
          .weight_above,
          .weight_kept(weight[i][j]),
          .left(left[i][j]),
          .sum_above,
          .tapped(tapped[i][j]),
          .sum(sum[i][j])
      );
    end
  end

  // Tokens follow the bottom row to the right and through its stages.
  token_t entered[COLS], leaving[COLS];
  assign entered[0] = entering;
  for (genvar j = 0; j < COLS; j++) begin : bottom
    if (j > 0) begin : from_left
      token_t kept = '0;
      always_ff @(posedge clock) if (enable) kept <= entered[j-1];
      assign entered[j] = kept;
    end
    if (STAGES == 0) begin : at_once
      assign leaving[j] = entered[j];
    end else begin : registered
      token_t kept[STAGES];
      initial for (int s = 0; s < STAGES; s++) kept[s] = '0;
      always_ff @(posedge clock)
        if (enable) begin
          kept[0] <= entered[j];
          for (int s = 1; s < STAGES; s++) kept[s] <= kept[s-1];
        end
      assign leaving[j] = kept[STAGES-1];
    end
  end
  assign block_over = leaving[COLS-1].valid && leaving[COLS-1].row == head.rows - 1;

  // Accumulators.
  logic signed [31:0] sums[STREAMED][COLS];
  logic signed [31:0] total[COLS];
  always_comb
    for (int j = 0; j < COLS; j++)
      total[j] = (term == 0 ? 0 : sums[leaving[j].row%STREAMED][j]) + tapped[ROWS-1][j];
  always_ff @(posedge clock)
    if (enable)
      for (int j = 0; j < COLS; j++)
        if (leaving[j].valid) begin
          if (leaving[j].row >= STREAMED) $fatal(1, "more rows than accumulators");
          sums[leaving[j].row%STREAMED][j] <= total[j];
        end
  always_comb
    for (int j = 0; j < COLS; j++) begin
      results[j].present = leaving[j].valid && term + ROWS >= head.terms
          && column + j < head.columns;
      results[j].address =
          head.out + leaving[j].row * head.out_row + (column + j) * head.out_column;
      results[j].accumulate = head.accumulate[0];
      results[j].value = total[j];
    end
endmodule
