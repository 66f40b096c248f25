-- Tells the other nodes who was gone from the line shortly before it was lost: the last changes had
-- not reached all of them, and nobody is to be told more than by a node that knew.
-- ARGV 1 epoch that followed the loss, 2 ranks
-- Returns nothing.
-- Atomic, because the line may begin anew again.
if epoch_of_line() == ARGV[1] then tell(ARGV[1], 'y', ARGV[2]) end
