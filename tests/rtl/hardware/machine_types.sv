// Commands as they lie in the queues, and where an operand's elements lie in memory.
package machine_types;
  localparam int ENGINES = 3;  // dma-in, dma-out, array
  localparam int DMA_IN = 0;
  localparam int DMA_OUT = 1;
  localparam int ARRAY = 2;

  // A matrix [major, term] read out of memory, an image seen through a sliding kernel included:
  //   major = (y, x) with x < outputs_x
  //   term  = (channel, v, u) with kernel position u < kernel_x, and kernel positions (v, u) < kernel
  //   element (channel, y step_y + v spread_y - pad_y, x step_x + u spread_x - pad_x),
  // zero outside [0, size_y) x [0, size_x). Strides count elements.
  typedef struct packed {
    logic [31:0] address;
    logic [31:0] streamed;
    logic [31:0] outputs_x;
    logic [31:0] kernel;
    logic [31:0] kernel_x;
    logic signed [31:0] step_y;
    logic signed [31:0] step_x;
    logic signed [31:0] spread_y;
    logic signed [31:0] spread_x;
    logic signed [31:0] pad_y;
    logic signed [31:0] pad_x;
    logic signed [31:0] size_y;
    logic signed [31:0] size_x;
    logic signed [31:0] stride_channel;
    logic signed [31:0] stride_y;
    logic signed [31:0] stride_x;
  } operand_t;

  // One command. ``waits[e]`` is how many commands of engine ``e`` must have finished.
  typedef struct packed {
    logic [ENGINES-1:0][31:0] waits;
    // Transfers: whole bursts cross the off-chip boundary, ``size`` bytes of them are kept.
    logic [31:0] streamed;
    logic [31:0] dram;
    logic [31:0] local_address;
    logic [31:0] size;
    logic [31:0] moved;
    // Products [rows, terms] x [terms, columns], operands as [row, term] and [column, term].
    logic [31:0] rows;
    logic [31:0] terms;
    logic [31:0] columns;
    operand_t left;
    operand_t right;
    logic [31:0] out;
    logic [31:0] out_row;
    logic [31:0] out_column;
    logic [31:0] accumulate;
  } command_t;

  // What an array's edge asks memory for. ``present`` is off where the operand is a padded zero.
  typedef struct packed {
    logic present;
    logic streamed;
    logic [31:0] address;
  } read_t;

  typedef struct packed {
    logic present;
    logic [31:0] address;
    logic accumulate;
    logic signed [31:0] value;
  } write_t;

  function automatic read_t element_of(operand_t from, int unsigned major, int unsigned term,
                                       int bytes);
    logic signed [31:0] y, x, channel, position;
    channel = signed'(term / from.kernel);
    position = signed'(term % from.kernel);
    y = signed'(major / from.outputs_x) * from.step_y
        + position / signed'(from.kernel_x) * from.spread_y - from.pad_y;
    x = signed'(major % from.outputs_x) * from.step_x
        + position % signed'(from.kernel_x) * from.spread_x - from.pad_x;
    element_of.present = y >= 0 && y < from.size_y && x >= 0 && x < from.size_x;
    element_of.streamed = from.streamed[0];
    element_of.address = from.address
        + (channel * from.stride_channel + y * from.stride_y + x * from.stride_x) * bytes;
  endfunction
endpackage
